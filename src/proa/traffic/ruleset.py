"""A ruleset as a value, and the nftables scripts that make it so: whole, or as a difference.

``vips`` compiles the routers' rulesets and ``published`` the Host's; ``node.linux`` runs the
scripts. Most virtual addresses are map elements only: one map from (protocol, address, port) to a
chain by the number of endpoints, and one map for each number from the address and a draw to the
endpoint. A change of endpoints is then a change of elements and never of rules, so a thousand
Services cost as little as one (the idea is kube-proxy's nftables mode's, KEP-3866). What needs
rules of its own has named chains and sets.

What must stay true: a script is one nft transaction; ``difference(old, new)`` applied to ``old``
gives the same ruleset as ``whole(new)``, and dynamic sets that both have keep what they hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

VERDICTS = ("vips", "anywhere")  # the maps whose elements refer to chains
KEY_TYPEOF = "meta l4proto . ip daddr . th dport"
_ENDPOINT_TYPEOF = "ip daddr . th dport"
Elements = dict[str, dict[str, str]]


@dataclass(slots=True, frozen=True)
class VipTable:
    """``table`` is the table's name with its family; ``frame`` its fixed part, which declares the
    maps and sets that ``elements`` fills (name → key → value, "" in a set). ``chains`` are lists
    of rules, ``sets`` declarations of sets that the kernel fills."""

    table: str
    frame: str
    elements: Mapping[str, Mapping[str, str]]
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of endpoints that there are maps for."""
        names = (name for name in self.elements if name.startswith("targets_"))
        return tuple(sorted(int(name.removeprefix("targets_")) for name in names))


def whole(new: VipTable) -> str:
    """A script that replaces whatever there was, in one transaction."""
    empty = VipTable(new.table, new.frame, {})
    head = f"add table {new.table}\ndelete table {new.table}\n"
    return f"{head}table {new.table} {{\n{new.frame}}}\n{_changes(empty, new)}"


def difference(old: VipTable, new: VipTable) -> str:
    """A script that leads from ``old`` to ``new``; empty when they are the same."""
    if (old.table, old.frame) != (new.table, new.frame):
        return whole(new)
    return _changes(old, new)


def _changes(old: VipTable, new: VipTable) -> str:
    """What is referred to is there before and goes after what refers to it."""
    gone, fresh = _elements(old, new)
    verdicts: Elements = {name: gone.pop(name) for name in VERDICTS if name in gone}
    old_chains = {name for name, rules in old.chains.items() if new.chains.get(name) != rules}
    new_chains = [name for name, rules in new.chains.items() if old.chains.get(name) != rules]
    here = new.table
    lines = [
        *(_add_count(here, count) for count in new.counts if count not in old.counts),
        *(f"add set {here} {name} {{ {new.sets[name]}; }}\n"
          for name in new.sets if name not in old.sets),
        *(f"add chain {here} {name}\n" for name in new_chains if name not in old.chains),
        _element_lines(here, "delete", verdicts),
        *(f"flush chain {here} {name}\n" for name in sorted(old_chains)),
        *(f"add rule {here} {name} {rule}\n" for name in new_chains for rule in new.chains[name]),
        _element_lines(here, "delete", gone),
        _element_lines(here, "add", fresh),
        *(f"delete chain {here} {name}\n" for name in sorted(old_chains - set(new.chains))),
        *(f"delete set {here} {name}\n" for name in old.sets if name not in new.sets),
        *(_delete_count(here, count) for count in old.counts if count not in new.counts),
    ]  # fmt: skip
    return "".join(lines)


def _elements(old: VipTable, new: VipTable) -> tuple[Elements, Elements]:
    """(elements to delete, elements to add) by map."""
    gone: Elements = {}
    fresh: Elements = {}
    for name in sorted({*old.elements, *new.elements}):
        before, after = old.elements.get(name, {}), new.elements.get(name, {})
        gone[name] = {key: value for key, value in before.items() if after.get(key) != value}
        fresh[name] = {key: value for key, value in after.items() if before.get(key) != value}
    return gone, fresh


def _add_count(table: str, count: int) -> str:
    """The map and the chain for addresses with this number of endpoints."""
    name = f"targets_{count}"
    kind = f"typeof {KEY_TYPEOF} . numgen random mod {count} : {_ENDPOINT_TYPEOF}"
    picked = f"{KEY_TYPEOF} . numgen random mod {count} map @{name}"
    return (
        f"add map {table} {name} {{ {kind}; }}\n"
        f"add chain {table} random_{count}\n"
        f"add rule {table} random_{count} dnat ip to {picked}\n"
    )


def _delete_count(table: str, count: int) -> str:
    return (
        f"flush chain {table} random_{count}\n"
        f"delete chain {table} random_{count}\n"
        f"delete map {table} targets_{count}\n"
    )


def _element_lines(table: str, verb: str, elements: Mapping[str, Mapping[str, str]]) -> str:
    lines = []
    for name, members in elements.items():
        if members:
            texts = (f"{key} : {value}" if value else key for key, value in members.items())
            lines.append(f"{verb} element {table} {name} {{ {', '.join(texts)} }}\n")
    return "".join(lines)
