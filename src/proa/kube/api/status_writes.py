"""What this process itself says of objects: the short way from a controller's Call to the store.

``server`` sends status patches and new Events of its own controllers this way. They name nothing
else, come from code that is trusted, and are most of what a busy cluster writes; so they are
committed as they are, without the checks that a client's writes go through and without entries in
``managedFields``. A status is decided on the view as it is, guarded by the version, and decided
again after a lost race.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from proa.base.clock import iso8601
from proa.base.errors import Conflict
from proa.kube.api import schemas
from proa.kube.api.call import Call
from proa.kube.api.context import Api
from proa.kube.api.failures import modified, not_found
from proa.kube.decoding import members, whole
from proa.kube.keys import object_key
from proa.kube.schema.kinds import Resource
from proa.kube.schema.versions import has_versions
from proa.store.api import Exists, Guard, Put, Transaction

ATTEMPTS = 8
MERGE = "application/merge-patch+json"


def is_own_status(call: Call, resource: Resource) -> bool:
    """Whether a Call may take the short way."""
    return (
        call.verb == "patch"
        and call.subresource == "status"
        and not call.version
        and call.body.keys() == {"status"}
        and isinstance(call.body["status"], dict)
        and not has_versions(resource)
    )


def is_own_event(call: Call, resource: Resource) -> bool:
    """Whether a Call tells an Event that ``kube.events`` made whole."""
    return (
        call.verb == "create"
        and (resource.group, resource.name) == ("", "events")
        and bool(call.name)
        and call.existing_ok
    )


async def create_event(api: Api, resource: Resource, call: Call) -> int:
    """The new Event's version; 0 where one of its name is there, or its namespace is not."""
    home = object_key(api.cluster.uid, "", "namespaces", "", call.namespace)
    key = api.key(resource, call.namespace, call.name)
    body = dict(call.body)
    body["metadata"] = {
        **body["metadata"],
        "uid": api.chance.uid(),
        "creationTimestamp": iso8601(api.clock.now()),
    }
    write = Transaction((Guard(key, 0), Exists(home)), (Put(key, orjson.dumps(body)),))
    try:
        done = await api.store.commit(write)
    except Conflict:
        return 0
    await api.view.reached(done.version)
    return done.version


async def patch_status(api: Api, resource: Resource, call: Call) -> int:
    """The object's version after the patch. Raises ApiError."""
    key = api.key(resource, call.namespace, call.name)
    for _ in range(ATTEMPTS):
        entry = api.entry(resource, call.namespace, call.name)
        if entry is None or (call.uid and entry.value.metadata.uid != call.uid):
            await api.fresh()  # it may have been made a moment ago
            entry = api.entry(resource, call.namespace, call.name)
            if entry is None or (call.uid and entry.value.metadata.uid != call.uid):
                raise not_found(resource, call.name)
        parts = members.decode(entry.body)
        old = (orjson.loads(bytes(parts["status"])) if "status" in parts else None) or {}
        new = _merged(resource, old, call)
        if new == old:
            return entry.version
        parts["status"] = msgspec.Raw(orjson.dumps(new))
        write = Transaction((Guard(key, entry.version),), (Put(key, whole.encode(parts)),))
        try:
            done = await api.store.commit(write)
        except Conflict:
            await api.fresh()
            continue
        await api.view.reached(done.version)
        return done.version
    raise modified(resource, call.name)


def _merged(resource: Resource, old: dict[str, Any], call: Call) -> dict[str, Any]:
    given: dict[str, Any] = call.body["status"]
    if call.patch_type == MERGE and not any(isinstance(value, dict) for value in given.values()):
        merged = {**old, **given}  # RFC 7386, where nothing is nested
        return {name: value for name, value in merged.items() if value is not None}
    whole = schemas.patched(resource, {"status": old}, call.body, call.patch_type)
    status: dict[str, Any] = whole.get("status") or {}
    return status
