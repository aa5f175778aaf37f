"""Reading objects: get and list, with selectors, paging and the three forms of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import orjson

from proa.base.http import Request, Response
from proa.kube.api import bodies, negotiation
from proa.kube.api.context import Api
from proa.kube.api.failures import JSON, bad_request, expired, not_found
from proa.kube.api.listing import ListOptions, Place, list_options, token_of, too_large, too_old
from proa.kube.api.paths import Target
from proa.kube.decoding import decoder
from proa.kube.objects import Object
from proa.kube.schema import selectors, tables
from proa.kube.schema.kinds import Resource
from proa.kube.tables import OBJECTS
from proa.reconcile.view import Entry
from proa.store.api import Compacted, Record

Match = Callable[[Entry[Object]], bool]
SLICE = 500  # records of an older picture that are read at once
_project = decoder(Object)


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
        entry = self._api.rendered(resource, entry)
        if negotiation.form_of(request) == "object":
            return Response(200, bodies.shown(resource, entry), dict(JSON))
        obj = bodies.opened(resource, entry)
        return negotiation.shown(request, resource, obj, self._api.clock.now())

    async def collection(self, request: Request, resource: Resource, target: Target) -> Response:
        """A collection as of the newest version, or of the one that the request names; the pages
        of one list all show the picture of the first. Raises ApiError."""
        form = negotiation.form_of(request)
        prefix = self._api.prefix(resource, target.namespace)
        options = list_options(request, prefix)
        matches = matcher(resource, request)
        await self._api.fresh()
        newest = self._api.view.version
        if options.version > newest:
            raise too_large(options.version, newest)
        version = options.start.version or (options.version if options.exact else newest)
        selective = bool(request.param("labelSelector") or request.param("fieldSelector"))
        if version == newest:
            entries = self._api.view.rows(OBJECTS).scan(prefix, options.start.key)
            page, more = _page(filter(matches, entries), options.limit, count=not selective)
            page = [self._api.rendered(resource, entry) for entry in page]
        else:
            page, more = await self._past(prefix, options, version, matches)
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if more:
            meta["continue"] = token_of(Place(version, page[-1].key))
            if more > 0 and not selective:
                meta["remainingItemCount"] = more
        return self._answer(request, resource, form, page, meta)

    async def _past(
        self, prefix: str, options: ListOptions, version: int, matches: Match
    ) -> tuple[list[Entry[Object]], int]:
        """A page of an older picture, and -1 where there is more. Raises 410."""
        page: list[Entry[Object]] = []
        after = options.start.key
        while True:
            try:
                found = await self._api.store.range(prefix, after=after, limit=SLICE, at=version)
            except Compacted as error:
                if options.start.version:
                    raise too_old(options.start) from error
                raise expired(
                    f"The resourceVersion for the provided list is too old: {version}"
                ) from error
            for record in found.records:
                entry = entry_of(record)
                if not matches(entry):
                    continue
                if options.limit and len(page) == options.limit:
                    return page, -1
                page.append(entry)
            if not found.more:
                return page, 0
            after = found.records[-1].key

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
            items = b",".join(bodies.shown(resource, entry) for entry in page)
            return Response(200, b'%b,"items":[%b]}' % (head[:-1], items), dict(JSON))
        objects = [bodies.opened(resource, entry) for entry in page]
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

    def selected(self, request: Request, resource: Resource, namespace: str) -> list[str]:
        """(namespace/name) of what a deletecollection is about."""
        matches = matcher(resource, request)
        return [
            f"{entry.value.metadata.namespace}/{entry.value.metadata.name}"
            for entry in self._api.entries(resource, namespace)
            if matches(entry)
        ]


def entry_of(record: Record) -> Entry[Object]:
    """A stored record as the view would show it."""
    value = _project(record.body)
    return Entry(record.key, record.body, record.version, record.created, value)


def _page(
    entries: Iterator[Entry[Object]], limit: int, *, count: bool
) -> tuple[list[Entry[Object]], int]:
    """The first ``limit`` entries (0: all), and how many follow; -1 for some, uncounted."""
    if not limit:
        return list(entries), 0
    page = list(islice(entries, limit))
    if count:
        return page, sum(1 for _ in entries)
    return page, -1 if next(entries, None) is not None else 0


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
        return len(simple) == len(requirements) or fields(bodies.opened(resource, entry))

    return matches
