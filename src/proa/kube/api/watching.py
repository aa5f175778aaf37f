"""Watches: a stream of changes as JSON lines, from any version that is still known.

A watcher reads along in ``broadcast``; what happened before comes from the store's own history,
up to the version at which it began to read along, so there is no gap and no duplicate. Events are
those that its selector sees (an object that no longer matches is DELETED for that watcher).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import orjson

from proa.base.clock import Clock
from proa.base.errors import TryAgain
from proa.base.http import Request, Response
from proa.kube.api import bodies, negotiation
from proa.kube.api.broadcast import Broadcast, Reader, Selection
from proa.kube.api.context import Api
from proa.kube.api.failures import expired, status_body
from proa.kube.api.listing import too_large, watch_options
from proa.kube.api.paths import Target
from proa.kube.api.reads import Match, entry_of, matcher
from proa.kube.objects import Object
from proa.kube.schema import selectors, tables
from proa.kube.schema.kinds import Resource
from proa.reconcile.view import Entry
from proa.store.api import Event

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
    selectors: tuple[str, str] = ("", "")
    named: str = ""  # the only object that the field selector lets through


class _Alarm:
    """Wakes a watcher that has to look at the time."""

    def __init__(self, clock: Clock, wake: Callable[[], None]) -> None:
        self._clock, self._wake = clock, wake
        self._set: asyncio.TimerHandle | None = None
        self._at = 0.0

    def at(self, instant: float) -> None:
        """Ring then, unless that is what it does already."""
        if self._set is None or self._at != instant:
            self.cancel()
            delay = max(0.0, instant - self._clock.monotonic())
            self._at = instant
            self._set = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        self._set = None
        self._wake()

    def cancel(self) -> None:
        if self._set is not None:
            self._set.cancel()
            self._set = None


class Watcher:
    """Serves watches of one cluster."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._broadcast = Broadcast(api.view, api.clock, api.cluster.uid)

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
            (request.param("labelSelector"), request.param("fieldSelector")),
            _only_name(resource, request.param("fieldSelector")),
        )

    async def _lines(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """Reading along begins before anything is listed or read again, so nothing is missed."""
        deadline = self._api.clock.monotonic() + wanted.timeout_s
        if wanted.since > self._api.view.version and not await self._reached(wanted):
            return
        reader = self._broadcast.open(self._selection(wanted))
        alarm = _Alarm(self._api.clock, reader.wake)
        try:
            version = wanted.since
            if wanted.listed:
                version = reader.since
                for chunk in self._present(wanted):
                    yield chunk
                if wanted.initial:
                    yield self._bookmark(wanted, version, {INITIAL_END: "true"})
            elif version < reader.since:
                async for chunk in self._missed(wanted, reader.since):
                    yield chunk
            async for chunk in self._follow(wanted, reader, deadline, alarm):
                yield chunk
        except TryAgain:
            message = f"too old resource version: {version}"
            yield _event("ERROR", status_body(expired(message)))
        finally:
            alarm.cancel()
            reader.close()

    async def _reached(self, wanted: Wanted) -> bool:
        """Whether a version that is still to come comes in time."""
        try:
            async with asyncio.timeout(wanted.timeout_s):
                await self._api.view.reached(wanted.since)
        except TimeoutError:
            return False
        return True

    def _selection(self, wanted: Wanted) -> Selection:
        resource, target = wanted.resource, wanted.target
        namespace = target.namespace if resource.namespaced else ""
        form = (resource.api_version, wanted.form, wanted.include)
        name = target.name or wanted.named
        place = (resource.home[0], resource.name, namespace, name)
        return Selection(
            place,
            (*form, wanted.selectors),
            form,
            wanted.matches,
            lambda kind, entry: self._line(wanted, kind, entry),
        )

    def _present(self, wanted: Wanted) -> Iterator[bytes]:
        chunk = bytearray()
        for entry in list(self._api.entries(wanted.resource, wanted.target.namespace)):
            if wanted.matches(entry):
                chunk += self._line(wanted, "ADDED", entry)
            if len(chunk) >= CHUNK:
                yield bytes(chunk)
                chunk.clear()
        if chunk:
            yield bytes(chunk)

    async def _missed(self, wanted: Wanted, until: int) -> AsyncIterator[bytes]:
        """What happened between the version that is asked for and the present one. Raises
        TryAgain where that is not known any more."""
        prefix = self._api.prefix(wanted.resource, wanted.target.namespace)
        batches = self._api.store.watch(prefix, after=wanted.since)
        try:
            async for batch in batches:
                events = [event for event in batch.events if event.record.version <= until]
                chunk = b"".join(line for event in events for line in self._changed(wanted, event))
                if chunk:
                    yield chunk
                if batch.version >= until:
                    return
        finally:
            await batches.aclose()  # type: ignore[attr-defined]

    async def _follow(
        self, wanted: Wanted, reader: Reader, deadline: float, alarm: _Alarm
    ) -> AsyncIterator[bytes]:
        clock = self._api.clock
        bookmark_at = clock.monotonic() + BOOKMARK_S
        while True:
            alarm.at(min(deadline, bookmark_at))
            await reader.wait()
            for chunk in reader.take():
                yield chunk
            now = clock.monotonic()
            if now < deadline and now < bookmark_at:
                continue
            chunks, version = reader.take_all(), self._api.view.version
            for chunk in chunks:
                yield chunk
            if wanted.bookmarks:
                yield self._bookmark(wanted, version)
            if now >= deadline:
                return
            bookmark_at = now + BOOKMARK_S

    def _changed(self, wanted: Wanted, event: Event) -> list[bytes]:
        new = entry_of(event.record)
        before = entry_of(event.previous) if event.previous is not None else None
        matched = before is not None and wanted.matches(before)
        matches = event.kind == "put" and wanted.matches(new)
        if matches:
            return [self._line(wanted, "MODIFIED" if matched else "ADDED", new)]
        if matched and before is not None:  # as it was last seen, at the version of its going
            return [
                self._line(wanted, "DELETED", msgspec.structs.replace(before, version=new.version))
            ]
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


def _only_name(resource: Resource, field_selector: str) -> str:
    """The name that a field selector asks for, as kubectl and informers of one object do."""
    for name, operator, value in selectors.field_requirements(resource, field_selector):
        if name == "metadata.name" and operator == "=":
            return value
    return ""


def _event(kind: str, obj: dict[str, Any]) -> bytes:
    return orjson.dumps({"type": kind, "object": obj}) + b"\n"


def _named(matches: Match, name: str) -> Match:
    """Of a watch on one object's path, only that object."""
    if not name:
        return matches
    return lambda entry: entry.value.metadata.name == name and matches(entry)
