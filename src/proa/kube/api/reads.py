"""Reading objects: get and list, with selectors, paging and the three forms of answers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from proa.base.http import Request, Response
from proa.kube.api import bodies, negotiation
from proa.kube.api.call import ApiError
from proa.kube.api.context import Api
from proa.kube.api.failures import JSON, bad_request, expired, not_found
from proa.kube.api.options import whole_number
from proa.kube.api.paths import Target
from proa.kube.objects import Object
from proa.kube.schema import selectors, tables
from proa.kube.schema.kinds import Resource
from proa.reconcile.view import Entry

Match = Callable[[Entry[Object]], bool]
PAGE_MAX = 10_000


class Reader:
    """The read half of the registry."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def get(self, request: Request, resource: Resource, target: Target) -> Response:
        """One object, the stored bytes where nothing else was asked for."""
        await self._api.fresh()
        entry = self._api.entry(resource, target.namespace, target.name)
        if entry is None:
            raise not_found(resource, target.name)
        if negotiation.form_of(request) == "object":
            return Response(200, bodies.served(entry.body, entry.version), dict(JSON))
        obj = bodies.loaded(entry.body, entry.version)
        return negotiation.shown(request, resource, obj, self._api.clock.now())

    async def collection(self, request: Request, resource: Resource, target: Target) -> Response:
        """A collection as of the newest version; later pages are of the newest version too, and
        say so by their resourceVersion (kube-apiserver's "inconsistent continue")."""
        await self._api.fresh()
        form = negotiation.form_of(request)
        matches = matcher(resource, request)
        version = self._api.view.version
        self._check_version(request, version)
        found = self._matching(resource, target, matches, _after(self._api, request))
        limit = whole_number(request, "limit")
        page: list[Entry[Object]] = []
        more = 0
        for entry in found:
            if limit and len(page) == limit:
                more += 1
            else:
                page.append(entry)
        token = _continue(page[-1].key) if more else ""
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if token:
            meta |= {"continue": token, "remainingItemCount": more}
        return self._answer(request, resource, form, page, meta)

    def _answer(
        self,
        request: Request,
        resource: Resource,
        form: str,
        page: Sequence[Entry[Object]],
        meta: dict[str, Any],
    ) -> Response:
        if form == "object":
            head = orjson.dumps(
                {
                    "kind": f"{resource.kind}List",
                    "apiVersion": resource.api_version,
                    "metadata": meta,
                }
            )
            items = b",".join(bodies.served(entry.body, entry.version) for entry in page)
            return Response(200, b'%b,"items":[%b]}' % (head[:-1], items), dict(JSON))
        objects = [bodies.loaded(entry.body, entry.version) for entry in page]
        if form == "table":
            now, include = self._api.clock.now(), negotiation.include_of(request)
            made = tables.table(resource, objects, now, include)
            made["metadata"] = {**made.get("metadata", {}), **meta}
        else:
            made = {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": meta,
                "items": [negotiation.metadata_only(obj) for obj in objects],
            }
        return Response(200, orjson.dumps(made), dict(JSON))

    def _matching(
        self, resource: Resource, target: Target, matches: Match, after: str
    ) -> Iterator[Entry[Object]]:
        for entry in self._api.entries(resource, target.namespace, after):
            if matches(entry):
                yield entry

    def selected(self, request: Request, resource: Resource, namespace: str) -> list[str]:
        """(namespace/name) of what a deletecollection is about."""
        matches = matcher(resource, request)
        return [
            f"{entry.value.metadata.namespace}/{entry.value.metadata.name}"
            for entry in self._api.entries(resource, namespace)
            if matches(entry)
        ]

    def _check_version(self, request: Request, version: int) -> None:
        wanted, match = request.param("resourceVersion"), request.param("resourceVersionMatch")
        if match and not wanted:
            raise bad_request(
                "resourceVersionMatch is forbidden unless resourceVersion is provided"
            )
        if not wanted or wanted == "0":
            return
        if not wanted.isdigit():
            raise bad_request(f"Invalid value: {wanted!r}: strconv.ParseUint: invalid syntax")
        if match == "Exact" and int(wanted) != version:
            raise expired(f"The provided resource version {wanted} is not available any more")
        if int(wanted) > version:
            raise ApiError(
                504,
                "Timeout",
                f"Too large resource version: {wanted}, current: {version}",
                {"retryAfterSeconds": 1},
            )


def matcher(resource: Resource, request: Request) -> Match:
    """The selectors of a query over entries; bodies are decoded only for fields that the
    projection lacks. Raises 400."""
    try:
        labels = selectors.label_selector(request.param("labelSelector"))
        field_text = request.param("fieldSelector")
        requirements = selectors.field_requirements(resource, field_text)
        fields = selectors.field_selector(resource, field_text)
    except selectors.SelectorError as error:
        raise bad_request(str(error)) from error
    by_labels = bool(request.param("labelSelector"))
    simple = [item for item in requirements if item[0].startswith("metadata.")]

    def matches(entry: Entry[Object]) -> bool:
        metadata = entry.value.metadata
        if by_labels and not labels(metadata.labels):
            return False
        for name, operator, value in simple:
            found = metadata.name if name == "metadata.name" else metadata.namespace
            if (found == value) != (operator == "="):
                return False
        return len(simple) == len(requirements) or fields(orjson.loads(entry.body))

    return matches


def _continue(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _after(api: Api, request: Request) -> str:
    token = request.param("continue")
    if not token:
        return ""
    try:
        key = base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise bad_request("continue key is not valid") from error
    if not key.startswith(f"/kube/{api.cluster.uid}/"):
        raise bad_request("continue key is not valid")
    return key
