"""Capacity provider strategies: their rules, and which provider the next task goes to.

Called by CreateCluster, RunTask, CreateService and the service controller. Source: "Capacity
provider strategy considerations" of the developer guide: the base is met first, then the rest is
shared by weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proa.aws.ecs.names import invalid

Document = dict[str, Any]
MAX_ITEMS, MAX_BASE, MAX_WEIGHT = 20, 100_000, 1_000


def checked_strategy(strategy: Sequence[Document], allowed: Sequence[str]) -> tuple[Document, ...]:
    """A strategy with its defaults filled in. Raises InvalidParameterException."""
    if len(strategy) > MAX_ITEMS:
        raise invalid(f"A capacity provider strategy may have {MAX_ITEMS} items.")
    filled = tuple(
        {
            "capacityProvider": item["capacityProvider"],
            "weight": item.get("weight") or 0,
            "base": item.get("base") or 0,
        }
        for item in strategy
    )
    names = [item["capacityProvider"] for item in filled]
    for name in names:
        if name not in allowed:
            raise invalid(
                "The specified capacity provider strategy contains a capacity provider that is "
                f"not associated with the cluster: {name}"
            )
    if len(set(names)) < len(names):
        raise invalid("A capacity provider may be named once in a capacity provider strategy.")
    if sum(item["base"] > 0 for item in filled) > 1:
        raise invalid("Only one capacity provider in a strategy can have a base defined.")
    for item in filled:
        if not 0 <= item["weight"] <= MAX_WEIGHT or not 0 <= item["base"] <= MAX_BASE:
            raise invalid("The weight or base of a capacity provider is out of range.")
    if filled and all(item["weight"] == 0 and item["base"] == 0 for item in filled):
        raise invalid("At least one capacity provider must have a weight greater than zero.")
    return filled


def next_provider(strategy: Sequence[Document], running: Mapping[str, int]) -> str:
    """The provider for one more task, given how many each has: the base first, then whoever is
    furthest below its share."""
    for item in strategy:
        if running.get(item["capacityProvider"], 0) < item["base"]:
            return str(item["capacityProvider"])
    weighted = [item for item in strategy if item["weight"]] or list(strategy)

    def load(item: Document) -> float:
        beyond = running.get(item["capacityProvider"], 0) - int(item["base"])
        return (beyond + 1) / (int(item["weight"]) or 1)

    return str(min(weighted, key=load)["capacityProvider"])
