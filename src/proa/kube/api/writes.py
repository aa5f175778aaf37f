"""Writing objects: create, update, patch, delete, the same code for every kind.

Each write is decided on the view's newest picture and guarded by the object's version; a lost
race is decided again unless the caller named the version. Returned objects carry their
resourceVersion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson
from msgspec import Struct
from msgspec.structs import replace

from proa.base.clock import iso8601
from proa.base.errors import Conflict
from proa.kube.api import admission, bodies, schemas
from proa.kube.api.call import ApiError
from proa.kube.api.context import Api, Json, User
from proa.kube.api.failures import (
    already_exists,
    bad_request,
    invalid,
    modified,
    not_found,
    other_uid,
)
from proa.kube.api.options import WriteOptions
from proa.kube.decoding import handed_over
from proa.kube.objects import Object, Pod
from proa.kube.schema import merge
from proa.kube.schema.errors import FieldError
from proa.kube.schema.kinds import Kinds, Resource
from proa.kube.tables import OBJECTS
from proa.reconcile.view import Entry
from proa.store.api import Delete, Exists, Guard, Put, Transaction

ATTEMPTS = 8
NAMES = 8  # that are tried for an object with generateName
VERSION_DIGITS = 20  # of an unsigned number of 64 bits
NODES = ("", "nodes")  # whose creator says their status as well (the node's strategy)
_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
)
_UNASKED = frozenset({*_SERVER_OWNED, "managedFields"})


Completion = Callable[[Resource, str, Json], None]


def _nothing_to_add(_resource: Resource, _namespace: str, _obj: Json) -> None:
    """Objects are complete as they are."""


class Written(Struct):
    """The object after a write, and what to warn the caller of."""

    obj: Json
    warnings: list[str] = []
    version: int = 0
    created: bool = False
    removed: bool = False
    body: bytes = b""  # the object as it is stored, where this write stored it


class Writer:
    """The write half of the registry."""

    def __init__(self, api: Api, complete: Completion = _nothing_to_add) -> None:
        """``complete`` adds what this server itself has to say of an object, before the rules
        are checked."""
        self._api, self._complete = api, complete

    async def create(
        self, resource: Resource, namespace: str, body: Json, user: User, options: WriteOptions
    ) -> Written:
        """Raises ApiError."""
        await self._api.fresh()
        form = self._incoming(resource, namespace, body, options)
        metadata = form.obj["metadata"]
        generated = not metadata.get("name") and metadata.get("generateName")
        draws = resource.group_name in admission.DRAWING
        asked = orjson.dumps(form.obj) if draws else b""
        for attempt in range(ATTEMPTS):
            if generated:
                metadata["name"] = self._fresh_name(resource, namespace, metadata["generateName"])
            if not metadata.get("name"):
                raise _name_required(resource)
            try:
                guards, writes = self._new(resource, namespace, form, options)
                if options.dry_run:
                    return Written(form.obj, form.warnings, created=True)
                version = await self._commit(guards, writes)
            except Conflict:
                existing = self._api.entry(resource, namespace, metadata["name"])
                if existing is not None and not generated:
                    raise already_exists(resource, metadata["name"]) from None
                if attempt == ATTEMPTS - 1:
                    raise
                await self._api.fresh()
                if draws:  # what was drawn for it is another's now, and was not asked for
                    form = replace(form, obj=orjson.loads(asked))
                    metadata = form.obj["metadata"]
            else:
                metadata["resourceVersion"] = str(version)
                body_kept = _first_body(writes)
                return Written(form.obj, form.warnings, version, created=True, body=body_kept)
        raise AssertionError("the loop returns or raises")

    def _fresh_name(self, resource: Resource, namespace: str, beginning: str) -> str:
        """A generated name that nothing has, as far as is known; after NAMES that are taken, one
        that is (kube-apiserver's RetryGenerateName)."""
        for _ in range(NAMES):
            name = beginning[:57] + self._api.chance.suffix()
            if self._api.entry(resource, namespace, name) is None:
                break
        return name

    def _incoming(
        self, resource: Resource, namespace: str, body: Json, options: WriteOptions
    ) -> schemas.Form:
        body = _of_kind(self._api.kinds, resource, body)
        form = schemas.admitted_form(resource, body, options)
        metadata = form.obj.setdefault("metadata", {})
        _check_namespace(resource, namespace, metadata)
        if not _UNASKED.isdisjoint(metadata):
            if metadata.get("resourceVersion") not in (None, "", "0"):
                raise bad_request("resourceVersion should not be set on objects to be created")
            for name in _SERVER_OWNED:
                metadata.pop(name, None)
            if not options.applied:
                metadata.pop("managedFields", None)
        if (resource.home[0], resource.name) not in self._api.acted_on:
            why = f"{resource.kind} is stored, but nothing in this server acts on it yet"
            form.warnings.append(why)
        return form

    def _new(
        self, resource: Resource, namespace: str, form: schemas.Form, options: WriteOptions
    ) -> tuple[tuple[Guard | Exists, ...], tuple[Put | Delete, ...]]:
        """Complete and check a new object; what has to be written. Raises ApiError."""
        api, obj = self._api, form.obj
        metadata = obj["metadata"]
        if "status" in resource.subresources and resource.group_name != NODES:
            obj.pop("status", None)
        key = api.key(resource, namespace, metadata["name"])
        if api.view.rows(OBJECTS).get(key) is not None:
            raise already_exists(resource, metadata["name"])
        metadata["uid"] = api.chance.uid()
        admitted = admission.on_create(api, resource, namespace, obj)
        self._complete(resource, namespace, obj)
        schemas.check(resource, None, obj, whole=form.whole)
        options.approve(obj)
        now = api.clock.now()
        metadata["creationTimestamp"] = iso8601(now)
        if "spec" in obj:
            metadata["generation"] = 1
        _track(resource, None, obj, options, now)
        guards = (Guard(key, 0), *admitted.guards)
        return guards, (Put(key, bodies.kept(api.kinds, resource, obj)), *admitted.writes)

    def prepared(
        self, resource: Resource, namespace: str, body: Json, options: WriteOptions
    ) -> Transaction:
        """What ``create`` would commit for a named object, for one who commits many together.
        Raises ApiError."""
        form = self._incoming(resource, namespace, body, options)
        return Transaction(*self._new(resource, namespace, form, options))

    async def put(
        self,
        namespace: str,
        name: str,
        resource: Resource,
        body: Json,
        user: User,
        options: WriteOptions,
    ) -> Written:
        """Create by an update, whatever version it names. Raises ApiError."""
        metadata = body.get("metadata")
        if isinstance(metadata, dict):
            _check_name(metadata, name)
            body = {**body, "metadata": {**metadata, "resourceVersion": ""}}
        return await self.create(resource, namespace, body, user, options)

    async def change(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        options: WriteOptions,
        edit: Callable[[Json], Json],
        subresource: str = "",
        *,
        prune: bool = True,
    ) -> Written:
        """Read, edit, check and write one object. ``edit`` gets a copy and returns the wanted
        object; a resourceVersion in it makes the write conditional. Raises ApiError."""
        for attempt in range(ATTEMPTS):
            await self._api.fresh()
            entry = self._api.entry(resource, namespace, name)
            if entry is None:
                raise not_found(resource, name)
            old = bodies.opened(resource, entry)
            wanted = edit(bodies.opened(resource, entry))
            version = _version_of(wanted)
            if version and version != entry.version:
                raise modified(resource, name)
            try:
                return await self._change(
                    resource,
                    namespace,
                    entry,
                    old,
                    wanted,
                    options,
                    subresource,
                    prune,
                )
            except Conflict:
                if version or attempt == ATTEMPTS - 1:
                    raise modified(resource, name) from None
        raise AssertionError("the loop returns or raises")

    async def _change(
        self,
        resource: Resource,
        namespace: str,
        entry: Entry[Object],
        old: Json,
        wanted: Json,
        options: WriteOptions,
        subresource: str,
        prune: bool,
    ) -> Written:
        wanted = _of_kind(self._api.kinds, resource, wanted)
        warnings: list[str] = []
        whole = False
        if prune:
            form = schemas.admitted_form(resource, wanted, options)
            wanted, warnings, whole = form.obj, form.warnings, form.whole
        metadata = wanted.setdefault("metadata", {})
        _check_name(metadata, old["metadata"]["name"])
        if metadata.get("uid") and metadata["uid"] != old["metadata"]["uid"]:
            raise other_uid(resource, metadata["name"], metadata["uid"], old["metadata"]["uid"])
        _check_namespace(resource, namespace, metadata)
        new = _kept(resource, old, wanted, subresource, options.applied)
        admitted = admission.on_update(self._api, resource, namespace, old, new, subresource)
        if not subresource:
            self._complete(resource, namespace, new)
            schemas.check(resource, old, new, whole=whole)
            options.approve(new)
        if _meaning(new) == _meaning(old):
            return Written(old, warnings, entry.version)
        if not subresource and _desired(new) != _desired(old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        if _is_released(resource, new):
            return await self._remove(resource, entry, new, options)
        _track(resource, old, new, options, self._api.clock.now(), subresource)
        guards = (Guard(entry.key, entry.version), *admitted.guards)
        writes = (Put(entry.key, bodies.kept(self._api.kinds, resource, new)), *admitted.writes)
        if options.dry_run:
            return Written(new, warnings)
        version = await self._commit(guards, writes)
        new["metadata"]["resourceVersion"] = str(version)
        return Written(new, warnings, version, body=_first_body(writes))

    async def _remove(
        self, resource: Resource, entry: Entry[Object], obj: Json, options: WriteOptions
    ) -> Written:
        released = admission.on_remove(self._api, resource, obj)
        if options.dry_run:
            return Written(obj, removed=True)
        guards = (Guard(entry.key, entry.version), *released.guards)
        version = await self._commit(guards, (Delete(entry.key), *released.writes))
        return Written(obj, version=version, removed=True)

    async def delete(
        self, resource: Resource, namespace: str, name: str, options: Json, dry_run: bool = False
    ) -> Written:
        """Delete, or mark for deletion where finalizers or a grace period ask for it. ``options``
        is DeleteOptions. Raises ApiError."""
        admission.on_delete(resource, name)
        for _ in range(ATTEMPTS):
            await self._api.fresh()
            entry = self._api.entry(resource, namespace, name)
            if entry is None:
                raise not_found(resource, name)
            obj = bodies.opened(resource, entry)
            _check_preconditions(resource, name, obj, options)
            marked = _marked(resource, obj, options, self._api.clock.now())
            write = WriteOptions(dry_run=dry_run)
            try:
                if marked is None:
                    return await self._remove(resource, entry, obj, write)
                if _meaning(marked) == _meaning(obj):
                    return Written(obj, version=entry.version)
                if dry_run:
                    return Written(marked)
                body = bodies.kept(self._api.kinds, resource, marked)
                if isinstance(entry.value, Pod):  # a mark changes nothing else of it
                    handed_over(Pod).tell_meta(body, entry.value, orjson.dumps(marked["metadata"]))
                version = await self._commit(
                    (Guard(entry.key, entry.version),), (Put(entry.key, body),)
                )
            except Conflict:
                continue
            marked["metadata"]["resourceVersion"] = str(version)
            return Written(marked, version=version)
        raise modified(resource, name)

    async def _commit(
        self, guards: Sequence[Guard | Exists], writes: Sequence[Put | Delete]
    ) -> int:
        """The version of the first write (the object's own)."""
        api = self._api
        done = await api.store.commit(Transaction(tuple(guards), tuple(writes)))
        if api.view.version < done.version:
            await api.view.reached(done.version)
        return done.versions[0]


def _first_body(writes: Sequence[Put | Delete]) -> bytes:
    """Of the first write, which is the object's own."""
    return writes[0].body if isinstance(writes[0], Put) else b""


def _name_required(resource: Resource) -> ApiError:
    detail = "name or generateName is required"
    return invalid(resource, "", [FieldError("FieldValueRequired", "metadata.name", detail)])


def _of_kind(kinds: Kinds, resource: Resource, body: Json) -> Json:
    """The body with its type, which a typed client may leave out. Raises 400 for another type."""
    kind, version = body.get("kind"), body.get("apiVersion")
    if kind == resource.kind and version == resource.api_version:  # as almost always
        return body
    if resource.schemas is None and not (kind and version):
        missing = "Kind" if not kind else "apiVersion"
        raise bad_request(f"Object '{missing}' is missing in the body")
    kind, version = kind or resource.kind, version or resource.api_version
    if not isinstance(kind, str) or not isinstance(version, str):
        raise bad_request("couldn't get version/kind; json parse error: they must be strings")
    if (kind, version) == (resource.kind, resource.api_version):
        return {**body, "kind": kind, "apiVersion": version}
    group, _, short = version.rpartition("/")
    other = kinds.by_kind(group, short, kind)
    if other is None:
        why = f'no kind "{kind}" is registered for version "{version}" in scheme'
    elif kind == resource.kind:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    else:
        wanted = f"{resource.version}.{resource.kind}"
        why = f"converting ({short}.{kind}) to ({wanted}): unknown conversion"
    raise bad_request(f'{kind} in version "{short}" cannot be handled as a {resource.kind}: {why}')


def _version_of(obj: Json) -> int:
    """The version that a write is conditional on; 0 for none. Raises 400."""
    metadata = obj.get("metadata")
    text = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if text in (None, "", "0"):
        return 0
    if not isinstance(text, str) or not text.isdecimal() or len(text) > VERSION_DIGITS:
        raise bad_request(
            f'metadata.resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing '
            f'"{text}": invalid syntax'
        )
    return int(text)


def _check_name(metadata: Json, name: str) -> None:
    """Raises 400 for another name than the path's."""
    if not metadata.get("name"):
        raise bad_request(
            "the name of the object (based on URL) was undeterminable: name must be provided"
        )
    if metadata["name"] != name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL "
            f"({name})"
        )


def _check_namespace(resource: Resource, namespace: str, metadata: Json) -> None:
    if not resource.namespaced:
        metadata.pop("namespace", None)
        return
    given = metadata.setdefault("namespace", namespace)
    if given != namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _kept(resource: Resource, old: Json, wanted: Json, subresource: str, applied: bool) -> Json:
    """What the caller may change of what is stored."""
    if subresource and subresource != "status":
        new = wanted
    elif subresource == "status":
        new = {**old, "status": wanted.get("status", {})}
        new["metadata"] = dict(old["metadata"])
    else:
        new = dict(wanted)
        if "status" in resource.subresources:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
    new["metadata"] = dict(new["metadata"])
    for name in _SERVER_OWNED:
        if name in old["metadata"]:
            new["metadata"][name] = old["metadata"][name]
        else:
            new["metadata"].pop(name, None)
    if not applied and "managedFields" in old["metadata"]:
        new["metadata"]["managedFields"] = old["metadata"]["managedFields"]
    return new


def _meaning(obj: Json) -> Json:
    metadata = {
        key: value
        for key, value in obj["metadata"].items()
        if key not in ("resourceVersion", "managedFields")
    }
    return {**obj, "metadata": metadata}


def _desired(obj: Json) -> Json:
    """What counts for the generation: all but metadata and status."""
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")}


def _is_released(resource: Resource, obj: Json) -> bool:
    """Marked for deletion, and nothing holds it any more."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if resource.name == "namespaces" and obj.get("spec", {}).get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds")


def _check_preconditions(resource: Resource, name: str, obj: Json, options: Json) -> None:
    wanted = options.get("preconditions") or {}
    metadata = obj["metadata"]
    if wanted.get("uid") and wanted["uid"] != metadata["uid"]:
        raise other_uid(resource, name, wanted["uid"], metadata["uid"])
    if wanted.get("resourceVersion") and wanted["resourceVersion"] != metadata["resourceVersion"]:
        raise modified(resource, name)


def _marked(resource: Resource, obj: Json, options: Json, now: float) -> Json | None:
    """The object marked for deletion; None where it can go at once."""
    marked = {**obj, "metadata": dict(obj["metadata"])}
    metadata = marked["metadata"]
    finalizers = list(metadata.get("finalizers") or [])
    policy = options.get("propagationPolicy") or ""
    if options.get("orphanDependents"):
        policy = "Orphan"
    wanted = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(policy)
    finalizers = [item for item in finalizers if item not in ("foregroundDeletion", "orphan")]
    if wanted:
        finalizers.append(wanted)
    elif metadata.get("deletionTimestamp"):
        finalizers = list(metadata.get("finalizers") or [])
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    grace = _grace(resource, obj, options)
    held = bool(finalizers) or grace > 0
    if resource.name == "namespaces" and obj.get("spec", {}).get("finalizers"):
        held = True
        marked["status"] = {**obj.get("status", {}), "phase": "Terminating"}
    if not held:
        return None
    before = metadata.get("deletionGracePeriodSeconds")
    if not metadata.get("deletionTimestamp") or (before is not None and grace < before):
        metadata["deletionTimestamp"] = iso8601(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        if "spec" in obj and obj["metadata"].get("deletionTimestamp") is None:
            metadata["generation"] = metadata.get("generation", 0) + 1
    return marked


def _grace(resource: Resource, obj: Json, options: Json) -> int:
    """Seconds a pod has to end; 0 for one that runs nowhere or is over, and for other kinds."""
    if resource.group_name != ("", "pods"):
        return 0
    if not obj.get("spec", {}).get("nodeName"):
        return 0
    if obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    given = options.get("gracePeriodSeconds")
    if given is None:
        given = obj["spec"].get("terminationGracePeriodSeconds", 30)
    return max(0, int(given))


def _track(
    resource: Resource,
    old: Json | None,
    new: Json,
    options: WriteOptions,
    now: float,
    subresource: str = "",
) -> None:
    """Who owns which field (managedFields), unless an apply has said so already."""
    if not options.applied:
        entries = merge.track_update(
            resource, old, new, manager=options.manager, now=now, subresource=subresource
        )
        if entries:
            new["metadata"]["managedFields"] = entries
        else:
            new["metadata"].pop("managedFields", None)
