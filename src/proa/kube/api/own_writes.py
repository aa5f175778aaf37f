"""What this process itself says of objects: the short way from a controller's Call to the store.

``server`` sends statuses, Events, deletions and releases of pods, sizes of ReplicaSets, revisions
of Deployments and endpoints of Services of its own controllers this way. They name nothing else,
come from code that is trusted, and are most of what a busy cluster writes; so only the members that
change are read and written, without the checks that a client's writes go through and without
entries in ``managedFields``. Each is decided on the view as it is and guarded by the version it
saw. What is out of the ordinary (no such object, finalizers, another version) is left to the long
way, which knows what to answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import orjson
from msgspec.structs import replace

from proa.base.clock import iso8601
from proa.dispatch.skin import Parts
from proa.kube.api import schemas
from proa.kube.api.call import Call
from proa.kube.api.context import Api
from proa.kube.decoding import handed_over, members, parted, whole
from proa.kube.objects import Deployment, Object, Pod, ReplicaSet
from proa.kube.schema.kinds import Resource
from proa.kube.tables import namespace_of
from proa.reconcile.view import Entry
from proa.store.api import Delete, Exists, Guard, Put

MERGE = "application/merge-patch+json"
NO_CHANGE = Parts()
_APPLIED = b'"operation":"Apply"'
_COUNTED = {"count", "message", "lastTimestamp"}
_LISTED = {("", "endpoints"): "subsets", ("discovery.k8s.io", "endpointslices"): "endpoints"}
_SIZED = (("apps", "replicasets"), ("apps", "deployments"))
# What a Call commits, decided on the view; None where it has to take the long way.
Way = Callable[[Api, Resource, Call], Parts | None]


def way_of(call: Call, resource: Resource) -> Way | None:
    """The short way of a Call, if there is one for its kind."""
    kind = resource.group_name
    if call.verb == "delete":
        plain = call.propagation in ("", "Background")  # nothing waits for what a pod owned
        return _deletion if kind == ("", "pods") and plain else None
    if call.verb == "create":
        return _event if kind == ("", "events") and call.name and call.existing_ok else None
    if call.verb != "patch" or resource.versioned:
        return None
    if call.subresource == "status":
        plain = call.body.keys() == {"status"} and isinstance(call.body["status"], dict)
        return _status if plain and not call.version else None
    if kind == ("", "events") and call.body.keys() == _COUNTED:
        return _count
    if kind == ("", "pods"):
        return _release if _is_release(call) else None
    if kind in _LISTED:
        return _list if _is_list(call, _LISTED[kind]) else None
    return _size if kind in _SIZED and _is_size(call) else None


def _is_size(call: Call) -> bool:
    """Whether a patch says a number of replicas and annotations, and nothing else."""
    metadata, spec = call.body.get("metadata", {}), call.body.get("spec", {})
    return (
        not call.subresource
        and call.patch_type == MERGE
        and call.body.keys() <= {"metadata", "spec"}
        and metadata.keys() <= {"annotations"}
        and spec.keys() <= {"replicas"}
        and all(isinstance(number, int) for number in spec.values())
        and all(isinstance(text, str) for text in metadata.get("annotations", {}).values())
    )


def _is_list(call: Call, name: str) -> bool:
    """Whether a patch says one list of an object anew, and nothing else."""
    plain = not call.subresource and call.patch_type == MERGE and call.body.keys() == {name}
    return plain and isinstance(call.body[name], list)


def _is_release(call: Call) -> bool:
    """Whether a patch says finalizers, and nothing else."""
    plain = not call.subresource and call.patch_type == MERGE and call.body.keys() == {"metadata"}
    return plain and call.body["metadata"].keys() == {"finalizers"}


def _meant(api: Api, resource: Resource, call: Call) -> Entry[Object] | None:
    """The object of a Call, if it is there and the one that is meant."""
    entry = api.entry(resource, call.namespace, call.name)
    if entry is None or (call.uid and entry.value.metadata.uid != call.uid):
        return None
    return None if call.version and entry.version != call.version else entry


def _written(entry: Entry[Object], body: bytes) -> Parts:
    return Parts((Guard(entry.key, entry.version),), (Put(entry.key, body),))


def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(orjson.dumps(value))


def _status(api: Api, resource: Resource, call: Call) -> Parts | None:
    entry = _meant(api, resource, call)
    if entry is None:
        return None
    rest, old = parted(entry.body)
    new = _merged(resource, old, call)
    if new == old:
        return NO_CHANGE
    text, value = orjson.dumps(new), entry.value
    body = b"%b%b}" % (rest, text)
    if isinstance(value, Pod | ReplicaSet | Deployment):
        handed_over(type(value)).tell_status(body, value, text)
    return _written(entry, body)


def _merged(resource: Resource, old: dict[str, Any], call: Call) -> dict[str, Any]:
    given: dict[str, Any] = call.body["status"]
    if call.patch_type == MERGE and not any(isinstance(value, dict) for value in given.values()):
        merged = {**old, **given}  # RFC 7386, where nothing is nested
        return {name: value for name, value in merged.items() if value is not None}
    patched = schemas.patched(resource, {"status": old}, call.body, call.patch_type)
    status: dict[str, Any] = patched.get("status") or {}
    return status


def _event(api: Api, resource: Resource, call: Call) -> Parts | None:
    """A new Event that ``kube.events`` made whole; nothing where one of its name is there, or its
    namespace is not."""
    home = namespace_of(api.view, api.cluster.uid, call.namespace)
    if home is None or api.entry(resource, call.namespace, call.name) is not None:
        return NO_CHANGE
    key = api.key(resource, call.namespace, call.name)
    made = {"uid": api.chance.uid(), "creationTimestamp": iso8601(api.clock.now())}
    body = {**call.body, "metadata": {**call.body["metadata"], **made}}
    return Parts((Guard(key, 0), Exists(home.key)), (Put(key, orjson.dumps(body)),))


def _count(api: Api, resource: Resource, call: Call) -> Parts | None:
    """The same news once more."""
    entry = _meant(api, resource, call)
    if entry is None:
        return None
    parts = members.decode(entry.body)
    parts |= {name: _raw(value) for name, value in call.body.items()}
    return _written(entry, whole.encode(parts))


def _deletion(api: Api, resource: Resource, call: Call) -> Parts | None:
    """A pod's deletion: at once where it runs nowhere or is over, else marked and given time."""
    entry = _meant(api, resource, call)
    if entry is None or not isinstance(entry.value, Pod):
        return None
    pod, meta = entry.value, entry.value.metadata
    if meta.finalizers or meta.deleting:
        return None
    grace_s = pod.spec.termination_grace_period_seconds if call.grace_s is None else call.grace_s
    if grace_s <= 0 or pod.terminal or not pod.spec.node_name:
        return Parts((Guard(entry.key, entry.version),), (Delete(entry.key),))
    parts = members.decode(entry.body)
    at = iso8601(api.clock.now() + grace_s)
    parts["metadata"] = _with(
        parts["metadata"],
        generation=meta.generation + 1,
        deletionTimestamp=at,
        deletionGracePeriodSeconds=grace_s,
    )
    marked = replace(
        meta,
        generation=meta.generation + 1,
        deletion_timestamp=at,
        deletion_grace_period_seconds=grace_s,
    )
    body = whole.encode(parts)
    handed_over(Pod).tell(body, replace(pod, metadata=marked))
    return _written(entry, body)


def _with(part: msgspec.Raw, **new: Any) -> msgspec.Raw:
    """A JSON object with other members."""
    inner = members.decode(part)
    inner |= {name: _raw(value) for name, value in new.items()}
    return msgspec.Raw(whole.encode(inner))


def _unapplied(
    api: Api, resource: Resource, call: Call
) -> tuple[Entry[Object], dict[str, msgspec.Raw]] | None:
    """The object of a Call by its members. Where somebody applied it, ``managedFields`` decides on
    conflicts: then it has to be right."""
    entry = _meant(api, resource, call)
    if entry is None or entry.value.metadata.deleting:
        return None
    parts = members.decode(entry.body)
    return None if _APPLIED in bytes(parts["metadata"]) else (entry, parts)


def _release(api: Api, resource: Resource, call: Call) -> Parts | None:
    """The finalizers of a pod that is not to go yet: the last one of another takes it away."""
    found = _unapplied(api, resource, call)
    if found is None:
        return None
    entry, parts = found
    pod = entry.value
    assert isinstance(pod, Pod), "no other kind comes this way"
    finalizers = tuple(call.body["metadata"]["finalizers"] or ())
    if finalizers == pod.metadata.finalizers:
        return NO_CHANGE
    meta = members.decode(parts["metadata"])
    meta.pop("finalizers", None)
    if finalizers:
        meta["finalizers"] = _raw(finalizers)
    parts["metadata"] = msgspec.Raw(whole.encode(meta))
    body = whole.encode(parts)
    handed_over(Pod).tell(body, replace(pod, metadata=replace(pod.metadata, finalizers=finalizers)))
    return _written(entry, body)


def _list(api: Api, resource: Resource, call: Call) -> Parts | None:
    """A list that the object has, anew. Its first one takes the long way, by which
    ``managedFields`` tell who gives it."""
    found = _unapplied(api, resource, call)
    if found is None:
        return None
    entry, parts = found
    ((name, items),) = call.body.items()
    if name not in parts:
        return None
    parts[name] = _raw(items)
    parts["metadata"] = _with(parts["metadata"], generation=entry.value.metadata.generation + 1)
    return _written(entry, whole.encode(parts))


def _size(api: Api, resource: Resource, call: Call) -> Parts | None:
    """Replicas and annotations: a ReplicaSet's size and what it remembers of its Deployment's, a
    Deployment's revision."""
    found = _unapplied(api, resource, call)
    if found is None:
        return None
    entry, parts = found
    value = entry.value
    assert isinstance(value, ReplicaSet | Deployment), "no other kind comes this way"
    meta, spec = value.metadata, value.spec
    notes = call.body.get("metadata", {}).get("annotations", {})
    new: dict[str, Any] = {}
    if not notes.items() <= meta.annotations.items():
        new["annotations"] = {**meta.annotations, **notes}
        meta = replace(meta, annotations=new["annotations"])
    replicas = call.body.get("spec", {}).get("replicas", spec.replicas)
    if replicas != spec.replicas:
        parts["spec"] = _with(parts["spec"], replicas=replicas)
        new["generation"] = meta.generation + 1
        meta, spec = replace(meta, generation=new["generation"]), replace(spec, replicas=replicas)
    if not new:
        return NO_CHANGE
    parts["metadata"] = _with(parts["metadata"], **new)
    body = whole.encode(parts)
    handed_over(type(value)).tell(body, replace(value, metadata=meta, spec=spec))
    return _written(entry, body)
