"""Which controllers' objects a pod's change concerns: the trigger that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from proa.kube.objects import Pod
from proa.kube.tables import cluster_of
from proa.reconcile.view import Change, Entry, Table, View

Adopts = Callable[[Entry[Any], Entry[Pod]], bool]


def selects(owner: Entry[Any], pod: Entry[Pod]) -> bool:
    """Whether an object's selector speaks of a pod; an empty one speaks of none."""
    selector = owner.value.spec.selector
    return not selector.empty and bool(selector.matches(pod.value.metadata.labels))


def owners_of_pod(
    view: View, change: Change[Pod], table: Table[Any], kind: str, adopts: Adopts = selects
) -> Iterable[str]:
    """The objects of ``table``, which are of ``kind``: the pod's owner before and after, or for an
    orphan those that might adopt it."""
    rows = view.rows(table)
    if not rows:
        return ()
    keys: dict[str, None] = {}
    old, new = change.old, change.new
    if old is not None and new is not None:
        same = old.value.metadata.owner_references == new.value.metadata.owner_references
        old = None if same else old
    for side in (old, new):
        if side is None:
            continue
        meta = side.value.metadata
        owner = meta.controller
        if owner is not None:
            if owner.kind == kind:
                for found in rows.by("uid", f"{cluster_of(side.key)}/{owner.uid}"):
                    keys[found.key] = None
        elif side is new:
            for found in rows.by("namespace", f"{cluster_of(side.key)}/{meta.namespace}"):
                if adopts(found, side):
                    keys[found.key] = None
    return keys
