"""Requests that write objects: create, update, patch, apply, delete, over HTTP.

``server`` hands over what is authorised. Everything that can be refused by the request alone (its
options, the form of the answer, the body's type) is refused before anything is read or written;
``writes`` then does the work, the same for every kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from msgspec import Struct
from msgspec.structs import replace

from proa.base.http import Request, Response
from proa.kube.api import bodies, negotiation, schemas
from proa.kube.api.call import ApiError
from proa.kube.api.context import Api, Json, User
from proa.kube.api.failures import JSON, bad_request, method_not_allowed, not_found
from proa.kube.api.options import WriteOptions, delete_options, write_options
from proa.kube.api.paths import Target
from proa.kube.api.rbac import GROUP, Rbac
from proa.kube.api.reads import Reader
from proa.kube.api.subresources import scale_of, set_scale, status_success
from proa.kube.api.writes import Writer, Written
from proa.kube.schema import merge
from proa.kube.schema.kinds import Resource

Edit = Callable[[Json], Json]
APPLY = "application/apply-patch+yaml"


class Wanted(Struct, frozen=True):
    """One request to write, as far as it is understood."""

    request: Request
    resource: Resource
    target: Target
    user: User

    @property
    def namespace(self) -> str:
        """ "" for a resource of cluster scope, whatever the path says."""
        return self.target.namespace if self.resource.namespaced else ""


class Mutations:
    """The writing half of one cluster's HTTP API."""

    def __init__(self, api: Api, rbac: Rbac, reader: Reader, writer: Writer) -> None:
        self._api, self._rbac, self._reader, self._writer = api, rbac, reader, writer

    async def answer(self, wanted: Wanted) -> Response:
        """A write of a whole object or of a collection. Raises ApiError."""
        verb, request = wanted.target.verb, wanted.request
        if verb in ("delete", "deletecollection"):
            return await self._delete(wanted)
        if verb == "patch":
            return await self._patch(wanted)
        form = negotiation.form_of(request)
        body, options = self._body(wanted, "CreateOptions" if verb == "create" else "UpdateOptions")
        if verb == "create":
            written = await self._writer.create(
                wanted.resource, wanted.namespace, body, wanted.user, options
            )
        else:
            written = await self._update(wanted, body, options)
        return self._shown(wanted, written, form)

    def _body(self, wanted: Wanted, form: str) -> tuple[Json, WriteOptions]:
        options = write_options(wanted.request, form)  # refused before the body is looked at
        body, twice = bodies.read_object(wanted.request, wanted.resource.kind)
        if twice or wanted.resource.group == GROUP:
            options = replace(options, said=tuple(twice), approve=self._approval(wanted))
        return body, options

    def _approval(self, wanted: Wanted) -> Callable[[Json], None]:
        """Nobody grants by roles and bindings what they may not do themselves."""

        def approve(obj: Json) -> None:
            if wanted.resource.group == GROUP and not wanted.target.subresource:
                self._rbac.check_grant(wanted.user, wanted.resource.name, wanted.namespace, obj)

        return approve

    async def _update(self, wanted: Wanted, body: Json, options: WriteOptions) -> Written:
        resource, name = wanted.resource, wanted.target.name
        if schemas.created_by_update(resource) and not wanted.target.subresource:
            await self._api.fresh()
            if self._api.entry(resource, wanted.namespace, name) is None:
                return await self._writer.put(wanted.namespace, name, resource, body, wanted.user,
                                              options)  # fmt: skip

        def edit(_obj: Json) -> Json:
            metadata = body.get("metadata")
            return {**body, "metadata": dict(metadata) if isinstance(metadata, dict) else metadata}

        return await self._writer.change(
            resource, wanted.namespace, name, options, edit, wanted.target.subresource
        )

    async def _patch(self, wanted: Wanted) -> Response:
        request, resource = wanted.request, wanted.resource
        patch_type = request.headers.get("content-type", "").split(";")[0].strip()
        schemas.check_patch_type(resource, patch_type)
        form = negotiation.form_of(request)
        options = replace(write_options(request, "PatchOptions", applying=patch_type == APPLY),
                          approve=self._approval(wanted))  # fmt: skip
        if patch_type == APPLY:
            return self._shown(wanted, await self._apply(wanted, options), form)
        patch, twice = bodies.read_patch(request)
        text = request.body.decode(errors="replace")
        options = replace(options, said=tuple(twice), patch=text)

        def edit(obj: Json) -> Json:
            return schemas.patched(resource, obj, patch, patch_type)

        target = wanted.target
        written = await self._writer.change(
            resource, wanted.namespace, target.name, options, edit, target.subresource
        )
        return self._shown(wanted, written, form)

    async def _apply(self, wanted: Wanted, options: WriteOptions) -> Written:
        """Server-side apply, creating what is not there."""
        resource, target, namespace = wanted.resource, wanted.target, wanted.namespace
        applied = bodies.read_apply(wanted.request, strict=options.field_validation == "Strict")
        now, options = self._api.clock.now(), replace(options, applied=True)
        await self._api.fresh()
        if self._api.entry(resource, namespace, target.name) is None and not target.subresource:
            made = schemas.applied(resource, None, applied, options, now, "")
            made.setdefault("metadata", {})["name"] = target.name
            return await self._writer.create(resource, namespace, made, wanted.user, options)

        def edit(obj: Json) -> Json:
            return schemas.applied(resource, obj, applied, options, now, target.subresource)

        return await self._writer.change(
            resource, namespace, target.name, options, edit, target.subresource
        )

    async def _delete(self, wanted: Wanted) -> Response:
        request, resource, target = wanted.request, wanted.resource, wanted.target
        negotiation.form_of(request)
        body = bodies.read_body(request) if request.body else {}
        schemas.check_types(self._api.builtin("", "pods"), schemas.DELETE_OPTIONS, body)
        options = delete_options(request, body)
        dry_run = bool(options.get("dryRun"))
        if target.verb == "deletecollection":
            return await self._delete_all(wanted, options, dry_run)
        written = await self._writer.delete(
            resource, wanted.namespace, target.name, options, dry_run
        )
        if written.removed:
            return status_success(resource, written.obj)
        return Response(200, orjson.dumps(written.obj), dict(JSON))

    async def _delete_all(self, wanted: Wanted, options: Json, dry_run: bool) -> Response:
        """deletecollection: each by itself; what is gone meanwhile does not matter."""
        await self._api.fresh()
        gone: list[Json] = []
        for path in self._reader.selected(wanted.request, wanted.resource, wanted.namespace):
            where, _, name = path.rpartition("/")
            try:
                written = await self._writer.delete(wanted.resource, where, name, options, dry_run)
            except ApiError as error:
                if error.code != 404:
                    raise
            else:
                gone.append(written.obj)
        answer: dict[str, Any] = {
            "kind": f"{wanted.resource.kind}List",
            "apiVersion": wanted.resource.api_version,
            "metadata": {"resourceVersion": str(self._api.view.version)},
            "items": gone,
        }
        return Response(200, orjson.dumps(answer), dict(JSON))

    # Parts of objects

    async def part(self, wanted: Wanted) -> Response:
        """status, finalize and other parts that are read and written like the object."""
        verb = wanted.target.verb
        if verb == "get":
            return await self._reader.get(wanted.request, wanted.resource, wanted.target)
        if verb == "patch":
            return await self._patch(wanted)
        if verb != "update":
            raise method_not_allowed()
        form = negotiation.form_of(wanted.request)
        body, options = self._body(wanted, "UpdateOptions")
        return self._shown(wanted, await self._update(wanted, body, options), form)

    async def scale(self, wanted: Wanted) -> Response:
        """autoscaling/v1 Scale of a workload, read and written."""
        request, resource, target = wanted.request, wanted.resource, wanted.target
        await self._api.fresh()
        entry = self._api.entry(resource, target.namespace, target.name)
        if entry is None:
            raise not_found(resource, target.name)
        obj = bodies.opened(resource, entry)
        if target.verb == "get":
            return Response(200, orjson.dumps(scale_of(resource, obj)), dict(JSON))
        if target.verb == "update":
            scale: Any = bodies.read_body(request)
        elif target.verb == "patch":
            scale = merge.merge_patch(scale_of(resource, obj), bodies.read_patch(request)[0])
        else:
            raise method_not_allowed()
        if not isinstance(scale, dict):
            raise bad_request("the patch does not leave an object")
        schemas.check_types(self._api.builtin("", "pods"), schemas.SCALE, scale)
        form = "PatchOptions" if target.verb == "patch" else "UpdateOptions"
        options = write_options(request, form)
        written = await set_scale(self._writer, resource, target, scale, options)
        return Response(200, orjson.dumps(scale_of(resource, written.obj)), dict(JSON))

    def _shown(self, wanted: Wanted, written: Written, form: str) -> Response:
        status = 201 if written.created else 200
        if form == "object" and written.body and not wanted.resource.versioned:
            response = Response(status, bodies.served(written.body, written.version), dict(JSON))
        else:
            now = self._api.clock.now()
            response = negotiation.shown(wanted.request, wanted.resource, written.obj, now, status)
        if written.warnings:
            texts = [text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
                     for text in written.warnings]  # fmt: skip
            response.headers["warning"] = ", ".join(f'299 - "{text}"' for text in texts)
        return response
