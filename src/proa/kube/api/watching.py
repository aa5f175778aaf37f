"""Watches: a stream of changes as JSON lines, from any version that is still known.

The store's own watch resumes without gap or duplicate; this turns its events into watch events
as a selector sees them (an object that no longer matches is DELETED for that watcher).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from proa.base.errors import TryAgain
from proa.base.http import Request, Response
from proa.kube.api import bodies, negotiation
from proa.kube.api.context import Api
from proa.kube.api.failures import expired, status_body
from proa.kube.api.listing import too_large, watch_options
from proa.kube.api.paths import Target
from proa.kube.api.reads import Match, entry_of, matcher
from proa.kube.objects import Object
from proa.kube.schema import tables
from proa.kube.schema.kinds import Resource
from proa.reconcile.view import Entry
from proa.store.api import Batch, Event

BOOKMARK_S = 60.0
DEFAULT_TIMEOUT_S = 1800
CHUNK = 64 * 1024  # bytes of present objects that are sent at once
INITIAL_END = "k8s.io/initial-events-end"


@dataclass(slots=True, frozen=True)
class Wanted:
    """What one watcher asked for."""

    resource: Resource
    target: Target
    matches: Match
    form: str
    include: Any
    bookmarks: bool
    initial: bool  # WatchList: the present objects are followed by a marked bookmark
    listed: bool  # the present objects come first
    since: int  # -1: from now on
    timeout_s: float


class Watcher:
    """Serves watches of one cluster."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def watch(self, request: Request, resource: Resource, target: Target) -> Response:
        """The streamed answer. Raises ApiError before it starts."""
        wanted = self._wanted(request, resource, target)
        await self._api.fresh()
        if wanted.since < 0:
            wanted = replace(wanted, since=self._api.view.version)
        newest = self._api.view.version
        if wanted.listed and wanted.since > newest:
            raise too_large(wanted.since, newest)
        headers = {"content-type": "application/json", "cache-control": "no-cache, private"}
        return Response(200, headers=headers, stream=self._lines(wanted))

    def _wanted(self, request: Request, resource: Resource, target: Target) -> Wanted:
        options = watch_options(request)
        initial = bool(options.initial)
        return Wanted(
            resource,
            target,
            _named(matcher(resource, request), target.name),
            negotiation.form_of(request),
            negotiation.include_of(request),
            options.bookmarks,
            initial,
            # Without sendInitialEvents, version 0 and no version mean the present objects first.
            initial or (options.initial is None and options.version <= 0),
            options.version if options.version > 0 else -1,
            float(options.timeout_s or DEFAULT_TIMEOUT_S),
        )

    async def _lines(self, wanted: Wanted) -> AsyncIterator[bytes]:
        deadline = self._api.clock.monotonic() + wanted.timeout_s
        version = wanted.since
        if wanted.listed:
            version = self._api.view.version
            chunk = bytearray()
            for entry in list(self._api.entries(wanted.resource, wanted.target.namespace)):
                if wanted.matches(entry):
                    chunk += self._line(wanted, "ADDED", entry)
                if len(chunk) >= CHUNK:
                    yield bytes(chunk)
                    chunk.clear()
            if chunk:
                yield bytes(chunk)
            if wanted.initial:
                yield self._bookmark(wanted, version, {INITIAL_END: "true"})
        prefix = self._api.prefix(wanted.resource, wanted.target.namespace)
        batches = self._api.store.watch(prefix, after=version)
        try:
            async for line in self._follow(wanted, batches, version, deadline):
                yield line
        except TryAgain:
            message = f"too old resource version: {version}"
            yield _event("ERROR", status_body(expired(message)))
        finally:
            await batches.aclose()  # type: ignore[attr-defined]

    async def _follow(
        self, wanted: Wanted, batches: AsyncIterator[Batch], version: int, deadline: float
    ) -> AsyncIterator[bytes]:
        clock = self._api.clock
        bookmark_at = clock.monotonic() + BOOKMARK_S
        pending: asyncio.Future[Batch] | None = None
        try:
            while True:
                if pending is None:
                    pending = asyncio.ensure_future(_next(batches))
                until = min(deadline, bookmark_at)
                try:
                    async with asyncio.timeout(max(0.0, until - clock.monotonic())):
                        batch = await asyncio.shield(pending)
                except TimeoutError:
                    if clock.monotonic() >= deadline:
                        if wanted.bookmarks:
                            yield self._bookmark(wanted, version)
                        return
                    bookmark_at = clock.monotonic() + BOOKMARK_S
                    if wanted.bookmarks:
                        yield self._bookmark(wanted, version)
                    continue
                pending = None
                version = max(version, batch.version)
                chunk = b"".join(
                    line for event in batch.events for line in self._changed(wanted, event)
                )
                if chunk:
                    yield chunk
        finally:
            if pending is not None:
                pending.cancel()
                await asyncio.gather(pending, return_exceptions=True)

    def _changed(self, wanted: Wanted, event: Event) -> list[bytes]:
        new = entry_of(event.record)
        before = entry_of(event.previous) if event.previous is not None else None
        matched = before is not None and wanted.matches(before)
        matches = event.kind == "put" and wanted.matches(new)
        if matches:
            return [self._line(wanted, "MODIFIED" if matched else "ADDED", new)]
        if matched and before is not None:  # as it was last seen, at the version of its going
            return [self._line(wanted, "DELETED", replace(before, version=new.version))]
        return []

    def _line(self, wanted: Wanted, kind: str, entry: Entry[Object]) -> bytes:
        if wanted.form == "object":
            body = bodies.shown(wanted.resource, entry)
            return b'{"type":"%b","object":%b}\n' % (kind.encode(), body)
        obj = bodies.opened(wanted.resource, entry)
        if wanted.form == "metadata":
            return _event(kind, negotiation.metadata_only(obj))
        now = self._api.clock.now()
        made = tables.table(wanted.resource, [obj], now, wanted.include)
        made["metadata"] = {"resourceVersion": str(entry.version)}
        return _event(kind, made)

    def _bookmark(
        self, wanted: Wanted, version: int, annotations: dict[str, str] | None = None
    ) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        if wanted.form == "table":
            made = tables.table(wanted.resource, [], self._api.clock.now(), wanted.include)
            made["metadata"] = {"resourceVersion": str(version)}
            if annotations:
                made["rows"] = [{"cells": [], "object": {
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                    "metadata": metadata}}]  # fmt: skip
            return _event("BOOKMARK", made)
        resource = wanted.resource
        kind, api_version = resource.kind, resource.api_version
        if wanted.form == "metadata":
            kind, api_version = "PartialObjectMetadata", "meta.k8s.io/v1"
        obj = {"kind": kind, "apiVersion": api_version, "metadata": metadata}
        return _event("BOOKMARK", obj)


async def _next(batches: AsyncIterator[Batch]) -> Batch:
    return await batches.__anext__()


def _event(kind: str, obj: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "object": obj}) + b"\n"


def _named(matches: Match, name: str) -> Match:
    """Of a watch on one object's path, only that object."""
    if not name:
        return matches
    return lambda entry: entry.value.metadata.name == name and matches(entry)
