"""Watches: a stream of changes as JSON lines, from any version that is still known.

The store's own watch resumes without gap or duplicate; this turns its events into watch events
as a selector sees them (an object that no longer matches is DELETED for that watcher).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from proa.base.errors import TryAgain
from proa.base.http import Request, Response
from proa.kube.api import bodies, negotiation
from proa.kube.api.call import ApiError
from proa.kube.api.context import Api
from proa.kube.api.failures import bad_request, expired, status_body
from proa.kube.api.paths import Target
from proa.kube.api.reads import Match, matcher
from proa.kube.keys import prefix_of
from proa.kube.objects import Object, decoder
from proa.kube.schema import tables
from proa.kube.schema.kinds import Resource
from proa.reconcile.view import Entry
from proa.store.api import Batch, Event, Record

BOOKMARK_S = 60.0
DEFAULT_TIMEOUT_S = 1800
INITIAL_END = "k8s.io/initial-events-end"
_project = decoder(Object)


@dataclass(slots=True, frozen=True)
class Wanted:
    """What one watcher asked for."""

    resource: Resource
    target: Target
    matches: Match
    form: str
    include: Any
    bookmarks: bool
    initial: bool  # WatchList: the present objects first, then a marked bookmark
    since: int  # -1: the present objects first, without a mark
    timeout_s: float


class Watcher:
    """Serves watches of one cluster."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def watch(self, request: Request, resource: Resource, target: Target) -> Response:
        """The streamed answer. Raises ApiError before it starts."""
        await self._api.fresh()
        wanted = self._wanted(request, resource, target)
        headers = {"content-type": "application/json", "cache-control": "no-cache, private"}
        return Response(200, headers=headers, stream=self._lines(wanted))

    def _wanted(self, request: Request, resource: Resource, target: Target) -> Wanted:
        version = request.param("resourceVersion")
        match = request.param("resourceVersionMatch")
        initial = request.param("sendInitialEvents") == "true"
        if initial and match != "NotOlderThan":
            raise _invalid_list_options(
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )
        if match and not request.param("sendInitialEvents"):
            raise _invalid_list_options(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            )
        if version and not version.isdigit():
            raise bad_request(f"Invalid value: {version!r}: strconv.ParseUint: invalid syntax")
        since = int(version or 0) or (-1 if not request.param("sendInitialEvents") else 0)
        if request.param("sendInitialEvents") == "false" and since <= 0:
            since = self._api.view.version
        timeout = request.param("timeoutSeconds")
        return Wanted(
            resource,
            target,
            matcher(resource, request),
            negotiation.form_of(request),
            negotiation.include_of(request),
            request.param("allowWatchBookmarks") in ("true", "1"),
            initial,
            since,
            float(timeout) if timeout.isdigit() and timeout != "0" else DEFAULT_TIMEOUT_S,
        )

    async def _lines(self, wanted: Wanted) -> AsyncIterator[bytes]:
        deadline = self._api.clock.monotonic() + wanted.timeout_s
        version = wanted.since
        if wanted.initial or wanted.since < 0:
            await self._api.view.reached(max(0, wanted.since))
            version = self._api.view.version
            for entry in list(self._api.entries(wanted.resource, wanted.target.namespace)):
                if wanted.matches(entry):
                    yield self._line(wanted, "ADDED", entry)
            if wanted.initial:
                yield self._bookmark(wanted, version, {INITIAL_END: "true"})
        target = wanted.target
        prefix = prefix_of(
            self._api.cluster.uid, wanted.resource.group, wanted.resource.name, target.namespace
        )
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
        new = _entry(event.record)
        before = _entry(event.previous) if event.previous is not None else None
        matched = before is not None and wanted.matches(before)
        matches = event.kind == "put" and wanted.matches(new)
        if matches:
            return [self._line(wanted, "MODIFIED" if matched else "ADDED", new)]
        if matched:
            return [self._line(wanted, "DELETED", new)]
        return []

    def _line(self, wanted: Wanted, kind: str, entry: Entry[Object]) -> bytes:
        if wanted.form == "object":
            body = bodies.served(entry.body, entry.version)
            return b'{"type":"%b","object":%b}\n' % (kind.encode(), body)
        obj = bodies.loaded(entry.body, entry.version)
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
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return _event("BOOKMARK", obj)


async def _next(batches: AsyncIterator[Batch]) -> Batch:
    return await batches.__anext__()


def _event(kind: str, obj: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "object": obj}) + b"\n"


def _entry(record: Record) -> Entry[Object]:
    value = _project(record.body)
    return Entry(record.key, record.body, record.version, record.created, value)


def _invalid_list_options(message: str) -> ApiError:
    return ApiError(
        422,
        "Invalid",
        f'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: {message}',
    )
