"""Garbage: objects whose owners have gone, and owners that go with or without their dependents.

Keys are objects' store keys. Because one view shows every object in one order, an owner that is
not in it does not exist: nothing needs to be asked twice. Rules: "Garbage Collection", "Use
Cascading Deletion in a Cluster".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proa.kube.api.call import Call
from proa.kube.controllers.common import delete, patch, reference_json, service_account
from proa.kube.objects import Object, OwnerReference
from proa.kube.tables import LIFE, OBJECTS, cluster_of
from proa.reconcile.controller import Trigger
from proa.reconcile.plan import NOTHING, Plan
from proa.reconcile.view import Change, Entry, View

USER = service_account("generic-garbage-collector")
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
BATCH = 100  # dependents handled a turn


class GarbageController:
    """Background, foreground and orphaning deletion."""

    name = "garbage"

    def __init__(self) -> None:
        self.triggers: Sequence[Trigger] = (Trigger(OBJECTS, concerned, LIFE),)

    def reconcile(self, view: View, key: str, now: float) -> Plan:
        entry = view.rows(OBJECTS).get(key)
        if entry is None:
            return NOTHING
        meta = entry.value.metadata
        if meta.deleting:
            if ORPHAN in meta.finalizers:
                return _orphan(view, entry)
            if FOREGROUND in meta.finalizers:
                return _foreground(view, entry)
            return NOTHING
        if not meta.owner_references:
            return NOTHING
        return _judge(view, entry)


def _judge(view: View, entry: Entry[Object]) -> Plan:
    """Keep an object while one of its owners stays; otherwise it goes too."""
    meta = entry.value.metadata
    owners = [(ref, _owner(view, entry, ref)) for ref in meta.owner_references]
    waiting = [ref for ref, owner in owners if owner is not None and _takes_dependents(owner)]
    absent = [ref for ref, owner in owners if owner is None]
    solid = len(owners) - len(waiting) - len(absent)
    if solid:
        if not waiting and not absent:
            return NOTHING
        gone = {ref.uid for ref in (*waiting, *absent)}
        return Plan((_without_owners(entry, gone),))
    if waiting and _dependents(view, entry):
        return Plan((*_unblocked(view, entry), delete(entry, USER, "Foreground")))
    if ORPHAN in meta.finalizers:
        return Plan((delete(entry, USER, "Orphan"),))
    if FOREGROUND in meta.finalizers:
        return Plan((delete(entry, USER, "Foreground"),))
    return Plan((delete(entry, USER, "Background"),))


def _owner(view: View, entry: Entry[Object], ref: OwnerReference) -> Entry[Object] | None:
    """The owner, by identity; an owner in another namespace counts as absent."""
    namespace = entry.value.metadata.namespace
    for found in view.rows(OBJECTS).by("uid", f"{cluster_of(entry.key)}/{ref.uid}"):
        if found.value.metadata.namespace in ("", namespace):
            return found
    return None


def _is_kept(view: View, entry: Entry[Object]) -> bool:
    """Whether all the owners of an object are there, to stay."""
    for ref in entry.value.metadata.owner_references:
        owner = _owner(view, entry, ref)
        if owner is None or _takes_dependents(owner):
            return False
    return True


def _takes_dependents(owner: Entry[Object]) -> bool:
    meta = owner.value.metadata
    return meta.deleting and FOREGROUND in meta.finalizers


def _dependents(view: View, entry: Entry[Object]) -> list[Entry[Object]]:
    uid = entry.value.metadata.uid
    return view.rows(OBJECTS).by("owner", f"{cluster_of(entry.key)}/{uid}")


def _without_owners(entry: Entry[Object], uids: set[str]) -> Call:
    left = [
        reference_json(ref) for ref in entry.value.metadata.owner_references if ref.uid not in uids
    ]
    return patch(entry, {"metadata": {"ownerReferences": left or None}}, USER)


def _unblocked(view: View, entry: Entry[Object]) -> list[Call]:
    """Break a circle: where a dependent is itself deleting in the foreground, this object must
    not hold its owners up."""
    if not any(_takes_dependents(item) for item in _dependents(view, entry)):
        return []
    references = [
        {**reference_json(ref), "blockOwnerDeletion": False}
        for ref in entry.value.metadata.owner_references
    ]
    return [patch(entry, {"metadata": {"ownerReferences": references}}, USER)]


def _orphan(view: View, entry: Entry[Object]) -> Plan:
    """Dependents lose this owner, then it may go."""
    uid = entry.value.metadata.uid
    dependents = _dependents(view, entry)
    calls = [_without_owners(item, {uid}) for item in dependents[:BATCH]]
    if not calls:
        calls = [_without_finalizer(entry, ORPHAN)]
    return Plan(tuple(calls))


def _foreground(view: View, entry: Entry[Object]) -> Plan:
    """Dependents that block go first; the owner when none is left."""
    uid = entry.value.metadata.uid
    dependents = _dependents(view, entry)
    blocking = [
        item
        for item in dependents
        if any(
            ref.uid == uid and ref.block_owner_deletion
            for ref in item.value.metadata.owner_references
        )
    ]
    if not blocking:
        return Plan((_without_finalizer(entry, FOREGROUND),))
    return NOTHING  # each dependent is judged under its own key


def _without_finalizer(entry: Entry[Object], finalizer: str) -> Call:
    left = [item for item in entry.value.metadata.finalizers if item != finalizer]
    return patch(entry, {"metadata": {"finalizers": left or None}}, USER)


def concerned(view: View, change: Change[Object]) -> Iterable[str]:
    """The object itself; its dependents when it goes or starts to take them along; its owners
    when it goes or changes hands, for they may wait for it."""
    keys: dict[str, None] = {}
    side = change.new or change.old
    assert side is not None, "a change has a side"
    meta = side.value.metadata
    if change.old is None and not meta.deleting and _is_kept(view, side):
        return ()  # new, and nobody's or of those who stay: as most objects are
    if change.new is not None and (meta.finalizers if meta.deleting else meta.owner_references):
        keys[change.key] = None
    if change.new is None or _takes_dependents(change.new):
        keys.update(dict.fromkeys(item.key for item in _dependents(view, side)))
    cluster = cluster_of(change.key)
    for ref in change.old.value.metadata.owner_references if change.old else ():
        for owner in view.rows(OBJECTS).by("uid", f"{cluster}/{ref.uid}"):
            if owner.value.metadata.deleting:
                keys[owner.key] = None
    return keys
