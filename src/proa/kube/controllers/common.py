"""What several controllers need: owner references, claiming, conditions as JSON, instants.

Rules of claiming: "ControllerRef" design proposal: a controller manages what it owns and its
selector matches, releases what it owns and no longer matches, adopts what matches and nobody
owns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, TypeVar

import orjson

from proa.base.clock import from_iso8601
from proa.kube.api.call import Call
from proa.kube.keys import parse_key
from proa.kube.objects import Condition, LabelSelector, Meta, Object, OwnerReference, PodTemplate
from proa.reconcile.view import Change, Entry, View

O = TypeVar("O", bound=Object)  # noqa: E741


def service_account(name: str) -> str:
    """The user that a controller's requests come from."""
    return f"system:serviceaccount:kube-system:{name}"


def owner_reference(api_version: str, kind: str, meta: Meta) -> dict[str, Any]:
    """The reference by which an object names its controller."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def copied(template: PodTemplate) -> PodTemplate:
    """A template for a Call's body: admission writes into what it is given, and what the view
    shows must not change with it."""
    return PodTemplate(
        orjson.loads(orjson.dumps(template.metadata)), orjson.loads(orjson.dumps(template.spec))
    )


def reference_json(reference: OwnerReference) -> dict[str, Any]:
    """An owner reference as it is written."""
    body: dict[str, Any] = {
        "apiVersion": reference.api_version,
        "kind": reference.kind,
        "name": reference.name,
        "uid": reference.uid,
    }
    if reference.controller:
        body["controller"] = True
    if reference.block_owner_deletion:
        body["blockOwnerDeletion"] = True
    return body


MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def patch(
    entry: Entry[Any],
    body: dict[str, Any],
    user: str,
    subresource: str = "",
    patch_type: str = MERGE,
) -> Call:
    """A merge patch of an object as it was read. The main resource is guarded by its version;
    a status, which only its controller writes, by its uid."""
    key = parse_key(entry.key)
    return Call(
        key.cluster,
        "patch",
        key.group,
        key.resource,
        key.namespace,
        key.name,
        subresource,
        body,
        patch_type,
        version=0 if subresource else entry.version,
        uid=entry.value.metadata.uid,
        user=user,
    )


def delete(entry: Entry[Any], user: str, propagation: str = "", grace_s: int | None = None) -> Call:
    """Deletion of exactly this object; that it has gone already is no error."""
    key = parse_key(entry.key)
    return Call(
        key.cluster,
        "delete",
        key.group,
        key.resource,
        key.namespace,
        key.name,
        uid=entry.value.metadata.uid,
        propagation=propagation,
        grace_s=grace_s,
        user=user,
        missing_ok=True,
    )


def patch_conditions(entry: Entry[Any], conditions: list[dict[str, Any]], user: str,
                     **status: Any) -> Call:  # fmt: skip
    """Set conditions by type and leave the others alone: a Pod's and a Node's have several
    writers. ``status`` are further members of the status."""
    body = {"status": {**status, "conditions": conditions}}
    return patch(entry, body, user, "status", STRATEGIC)


@dataclass(slots=True)
class Claim(Generic[O]):
    """What a controller manages, and the Calls that adopt or release the rest."""

    owned: list[Entry[O]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


def claim(
    owner: Meta,
    reference: dict[str, Any],
    selector: LabelSelector,
    controlled: Iterable[Entry[O]],
    orphans: Iterable[Entry[O]],
    user: str,
) -> Claim[O]:
    """Sort out objects. An owner that is being deleted keeps what it has and adopts nothing."""
    result: Claim[O] = Claim()
    every = list(controlled)
    labels = [entry.value.metadata.labels for entry in every]
    if every and selector.matches(labels[0]) and labels.count(labels[0]) == len(labels):
        result.owned, every = every, []  # most often they are all of one template
    for entry in every:
        meta = entry.value.metadata
        if selector.matches(meta.labels):
            result.owned.append(entry)
        elif not owner.deleting:
            rest = [reference_json(ref) for ref in meta.owner_references if ref.uid != owner.uid]
            result.calls.append(patch(entry, {"metadata": {"ownerReferences": rest}}, user))
    if owner.deleting:
        return result
    for entry in orphans:
        meta = entry.value.metadata
        if selector.matches(meta.labels) and not meta.deleting:
            refs = [*(reference_json(ref) for ref in meta.owner_references), reference]
            result.calls.append(patch(entry, {"metadata": {"ownerReferences": refs}}, user))
    return result


def if_meant(_view: View, change: Change[Any]) -> Iterable[str]:
    """A trigger: the changed object itself, but for its status, which tells its own controller
    nothing new."""
    if change.old is not None and change.new is not None:
        old, new = change.old.value, change.new.value
        if old.metadata == new.metadata and (old.metadata.generation or old.spec == new.spec):
            return ()  # another specification is another generation
    return (change.key,)


def condition_json(condition: Condition) -> dict[str, Any]:
    """A condition as it is written: without what it does not have."""
    pairs = (
        ("type", condition.type),
        ("status", condition.status),
        ("observedGeneration", condition.observed_generation),
        ("lastProbeTime", condition.last_probe_time),
        ("lastHeartbeatTime", condition.last_heartbeat_time),
        ("lastUpdateTime", condition.last_update_time),
        ("lastTransitionTime", condition.last_transition_time),
        ("reason", condition.reason),
        ("message", condition.message),
    )
    return {name: value for name, value in pairs if value}


def instant(text: str) -> float:
    """Seconds since the epoch of a stored instant; 0 for an absent one."""
    return from_iso8601(text) if text else 0.0


@lru_cache(maxsize=1000)
def scaled(value: int | str, total: int, round_up: bool) -> int:
    """An IntOrString: a number, or a percentage of ``total``. Raises ValueError."""
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"invalid value for IntOrString: {value!r} is not a percentage")
    product = int(value[:-1]) * total
    return -(-product // 100) if round_up else product // 100
