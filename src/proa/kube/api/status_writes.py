"""Statuses that this process itself writes: the short way from a controller's Call to the store.

``server`` sends status patches of its own controllers and of the agents' reports this way. Such a
patch names nothing but the status, comes from code that is trusted, and is most of what a busy
cluster writes; so it is merged into the stored object and committed, without the checks that a
client's patch goes through and without an entry in ``managedFields``. Decided on the view as it
is, guarded by the version, decided again after a lost race.
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.base.errors import Conflict
from proa.kube.api import schemas
from proa.kube.api.call import Call
from proa.kube.api.context import Api
from proa.kube.api.failures import modified, not_found
from proa.kube.schema.kinds import Resource
from proa.kube.schema.versions import has_versions
from proa.store.api import Guard, Put, Transaction

ATTEMPTS = 8


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
        obj = orjson.loads(entry.body)
        old = obj.get("status") or {}
        new = _merged(resource, old, call)
        if new == old:
            return entry.version
        obj["status"] = new
        write = Transaction((Guard(key, entry.version),), (Put(key, orjson.dumps(obj)),))
        try:
            done = await api.store.commit(write)
        except Conflict:
            await api.fresh()
            continue
        await api.view.reached(done.version)
        return done.version
    raise modified(resource, call.name)


def _merged(resource: Resource, old: dict[str, Any], call: Call) -> dict[str, Any]:
    whole = schemas.patched(resource, {"status": old}, call.body, call.patch_type)
    status: dict[str, Any] = whole.get("status") or {}
    return status
