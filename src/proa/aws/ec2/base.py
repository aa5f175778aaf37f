"""What every EC2 operation works with: the records of one place, guarded writes, ids, errors.

Handlers decide synchronously over the view and hand guards and writes to ``write``, which decides
again when somebody else was first. ``Ec2`` is made once by the assembly through ``service.build``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from proa.aws.gateway.service import AwsError, Context, Input
from proa.base.chance import Chance
from proa.base.errors import Conflict
from proa.cloud.network import NetworkPlanner, Vpc
from proa.cloud.network.records import VPCS, Tags, encode, network_key
from proa.reconcile.view import Entry, Table, View
from proa.store.api import Delete, Exists, Guard, Put, Store, Transaction

T = TypeVar("T")
MAX_ATTEMPTS = 8
MAX_TAGS = 50


class Placed(Protocol):
    """A record that belongs to an account and a region."""

    @property
    def id(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def tags(self) -> Tags: ...


P = TypeVar("P", bound=Placed)


@dataclass(slots=True, frozen=True)
class Kind(Generic[P]):
    """One of EC2's nouns: where it is stored, how its ids and errors read."""

    name: str  # as in keys and tag resource types
    prefix: str
    table: Table[P]
    missing: str  # error code
    sentence: str  # what the error says, with {id}

    def absent(self, id: str) -> AwsError:
        """The error for an id that nothing has."""
        return AwsError(self.missing, self.sentence.format(id=id))


@dataclass(slots=True, frozen=True)
class Decision(Generic[T]):
    """What a handler wants written, and what it will answer."""

    result: T
    writes: tuple[Put | Delete, ...] = ()
    guards: tuple[Guard | Exists, ...] = ()


class Ec2:
    """The records of every account, read from the view, written through the store."""

    def __init__(self, store: Store, view: View, chance: Chance) -> None:
        self._store, self.view, self.chance = store, view, chance
        self.planner = NetworkPlanner(view)

    def new_id(self, prefix: str) -> str:
        """An id that nothing has: the prefix and 17 hexadecimal digits."""
        return f"{prefix}-0{self.chance.hex(16)}"

    def entries(self, context: Context, kind: Kind[P]) -> list[Entry[P]]:
        """Everything of a kind in the caller's account and region, by id."""
        return self.view.rows(kind.table).by("place", f"{context.account}/{context.region}")

    def all(self, context: Context, kind: Kind[P]) -> list[P]:
        """The records of ``entries``."""
        return [entry.value for entry in self.entries(context, kind)]

    def entry(self, context: Context, kind: Kind[P], id: str) -> Entry[P]:
        """One record; raises the kind's NotFound."""
        key = network_key(context.account, context.region, kind.name, id)
        found = self.view.rows(kind.table).get(key)
        if found is None:
            raise kind.absent(id)
        return found

    def touch_vpc(self, context: Context, id: str, kind: Kind[Vpc]) -> Decision[Entry[Vpc]]:
        """Guard and rewrite a VPC, so that no two changes to what it holds are decided over the
        same picture (overlapping subnets, groups of one name)."""
        entry = self.entry(context, kind, id)
        return Decision(entry, (Put(entry.key, entry.body),), (Guard(entry.key, entry.version),))

    async def write(self, decide: Callable[[], Decision[T]]) -> T:
        """Commit what ``decide`` returns, deciding again after a Conflict; the view shows it
        when this returns."""
        for attempt in range(MAX_ATTEMPTS):
            decision = decide()
            if not decision.writes:
                return decision.result
            transaction = Transaction(decision.guards, decision.writes)
            try:
                done = await self._store.commit(transaction)
            except Conflict:
                if attempt == MAX_ATTEMPTS - 1:
                    raise
                await self.view.reached(await self._store.version())
                continue
            await self.view.reached(done.version)
            return decision.result
        raise AssertionError("the last attempt returns or raises")


def creation(record: Placed, kind: str) -> tuple[Put, Guard]:
    """What creates a record under its own key."""
    key = network_key(record.account, record.region, kind, record.id)
    return Put(key, encode(record)), Guard(key, 0)


def change(entry: Entry[Any], record: msgspec.Struct) -> tuple[Put, Guard]:
    """What replaces a record as it was read."""
    return Put(entry.key, encode(record)), Guard(entry.key, entry.version)


def removal(entries: Iterable[Entry[Any]]) -> Decision[None]:
    """What deletes records as they were read."""
    listed = list(entries)
    return Decision(
        None,
        tuple(Delete(entry.key) for entry in listed),
        tuple(Guard(entry.key, entry.version) for entry in listed),
    )


def invalid(value: object, parameter: str, more: str = "") -> AwsError:
    """EC2's InvalidParameterValue in its own words."""
    sentence = f"Value ({value}) for parameter {parameter} is invalid. {more}".rstrip()
    return AwsError("InvalidParameterValue", sentence)


def missing(parameter: str) -> AwsError:
    """A required parameter was not given."""
    return AwsError("MissingParameter", f"The request must contain the parameter {parameter}")


def too_many_tags() -> AwsError:
    """A resource has at most MAX_TAGS tags."""
    message = "The maximum number of Tags for a resource has been reached."
    return AwsError("TagLimitExceeded", message)


def check_tags(pairs: Iterable[dict[str, Any]]) -> Tags:
    """Tags as stored, the last of equal keys; raises for reserved and oversized ones."""
    tags: dict[str, str] = {}
    for pair in pairs:
        key, value = str(pair.get("Key", "")), str(pair.get("Value", ""))
        if key.lower().startswith("aws:"):
            refused = "Tag keys starting with 'aws:' are reserved for internal use"
        elif not 0 < len(key) < 128:
            refused = "Tag keys must have 1 to 127 characters"
        elif len(value) > 255:
            refused = "Tag value exceeds the maximum length of 255 characters"
        else:
            tags[key] = value
            continue
        raise AwsError("InvalidParameterValue", refused)
    if len(tags) > MAX_TAGS:
        raise too_many_tags()
    return tuple(sorted(tags.items()))


def specified_tags(given: Input, resource_type: str) -> Tags:
    """The tags of TagSpecifications; raises for another resource type than the one created."""
    pairs: list[dict[str, Any]] = []
    for specification in given.get("TagSpecifications") or ():
        kind = specification.get("ResourceType", "")
        if kind != resource_type:
            raise AwsError(
                "InvalidParameterValue", f"'{kind}' is not a valid taggable resource type."
            )
        pairs += specification.get("Tags") or ()
    return check_tags(pairs)


def vpc_entry_kind() -> Kind[Vpc]:
    """The kind that ``touch_vpc`` takes."""
    return Kind("vpc", "vpc", VPCS, "InvalidVpcID.NotFound", "The vpc ID '{id}' does not exist")
