"""Watches: what a watcher sees, from where, and until when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from proa.kube.api import broadcast
from tests.unit.kube.api.served import DEFAULT, Client, Json, config_map, said, serving

MAPS = f"{DEFAULT}/configmaps"
MERGE = "application/merge-patch+json"
LIST = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


async def seen(
    client: Client, query: str, meanwhile: Callable[[], Awaitable[None]] | None = None
) -> list[Json]:
    """The events of a watch of five seconds."""
    answer = await client.ask("GET", f"{MAPS}?watch=true&timeoutSeconds=5&{query}")
    assert answer.status == 200, answer.body
    assert answer.stream is not None
    lines: list[bytes] = []

    async def read() -> None:
        assert answer.stream is not None
        async for chunk in answer.stream:
            lines.extend(chunk.splitlines())

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(1)
    if meanwhile is not None:
        await meanwhile()
    await reading
    return [json.loads(line) for line in lines]


def short(events: list[Json]) -> list[tuple[str, str]]:
    return [(item["type"], item["object"]["metadata"].get("name", "")) for item in events]


async def label(client: Client, name: str, value: str) -> None:
    patch = {"metadata": {"labels": {"on": value}}}
    assert (await client.ask("PATCH", f"{MAPS}/{name}", patch, MERGE)).status == 200


def test_a_watch_list_sends_what_is_there_then_its_mark_then_changes() -> None:
    async def check(client: Client) -> None:
        await client.make(MAPS, config_map("a"))

        async def change() -> None:
            await client.make(MAPS, config_map("b"))

        events = await seen(client, LIST, change)
        assert short(events) == [
            ("ADDED", "a"), ("BOOKMARK", ""), ("ADDED", "b"), ("BOOKMARK", ""),
        ]  # fmt: skip
        mark = events[1]["object"]["metadata"]
        assert mark["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(mark["resourceVersion"]) >= int(
            events[0]["object"]["metadata"]["resourceVersion"]
        )

    serving(check)


def test_a_watch_resumes_behind_a_bookmark_without_gap_or_duplicate() -> None:
    async def check(client: Client) -> None:
        await client.make(MAPS, config_map("a"))
        version = (await seen(client, LIST))[-1]["object"]["metadata"]["resourceVersion"]
        await client.make(MAPS, config_map("b"))
        await client.ask("DELETE", f"{MAPS}/a")
        assert short(await seen(client, f"resourceVersion={version}")) == [
            ("ADDED", "b"), ("DELETED", "a"),
        ]  # fmt: skip

    serving(check)


def test_without_a_version_what_is_there_comes_first_and_without_initial_events_it_does_not() -> (
    None
):
    async def check(client: Client) -> None:
        await client.make(MAPS, config_map("a"))
        assert short(await seen(client, "")) == [("ADDED", "a")]
        assert short(await seen(client, "resourceVersion=0")) == [("ADDED", "a")]
        none = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
        assert short(await seen(client, none)) == []

    serving(check)


def test_an_object_that_leaves_a_selection_is_deleted_as_it_was_last_seen() -> None:
    async def check(client: Client) -> None:
        await client.make(MAPS, config_map("a"))
        await label(client, "a", "yes")

        async def leave() -> None:
            await label(client, "a", "no")
            await label(client, "a", "yes")

        events = await seen(client, "labelSelector=on=yes", leave)
        assert short(events) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]
        assert events[1]["object"]["metadata"]["labels"] == {"on": "yes"}
        versions = [int(item["object"]["metadata"]["resourceVersion"]) for item in events]
        assert versions == sorted(set(versions))

    serving(check)


def test_a_watch_on_one_object_sees_only_that_one() -> None:
    async def check(client: Client) -> None:
        await client.make(MAPS, config_map("a"))
        await client.make(MAPS, config_map("b"))
        path = f"{MAPS}/a?watch=true&timeoutSeconds=1"
        answer = await client.ask("GET", path)
        assert answer.stream is not None
        lines = [line async for chunk in answer.stream for line in chunk.splitlines()]
        assert short([json.loads(line) for line in lines]) == [("ADDED", "a")]

    serving(check)


def test_a_watch_from_a_forgotten_version_is_told_to_list_again() -> None:
    async def check(client: Client) -> None:
        await client.make(MAPS, config_map("a"))
        version = said(await client.ask("GET", MAPS))["metadata"]["resourceVersion"]
        for name in "bcd":
            await client.make(MAPS, config_map(name))
        store = client.api.api.store
        await store.compact(await store.version())
        (event,) = await seen(client, f"resourceVersion={version}")
        assert event["type"] == "ERROR"
        assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")

    serving(check)


def test_a_watch_list_from_a_version_to_come_is_refused() -> None:
    async def check(client: Client) -> None:
        answer = await client.ask("GET", f"{MAPS}?watch=true&resourceVersion=99999999999&{LIST}")
        assert answer.status == 504

    serving(check)


def test_bookmarks_come_while_nothing_happens() -> None:
    async def check(client: Client) -> None:
        query = "timeoutSeconds=130&allowWatchBookmarks=true&resourceVersion=1"
        answer = await client.ask("GET", f"{MAPS}?watch=true&{query}")
        assert answer.stream is not None
        kinds = [
            json.loads(line)["type"] async for chunk in answer.stream for line in chunk.splitlines()
        ]
        assert kinds == ["BOOKMARK"] * 3  # two of a minute, one before the end

    serving(check)


class Crowd:
    """Watches that are read beside each other."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.events: list[list[Json]] = []
        self._reading: list[asyncio.Task[None]] = []

    async def join(self, path: str, query: str = "resourceVersion=1") -> list[Json]:
        """Watch from now on, for two minutes; the list that its events come into."""
        answer = await self._client.ask("GET", f"{path}?watch=true&timeoutSeconds=120&{query}")
        assert answer.status == 200 and answer.stream is not None, answer.body
        events: list[Json] = []

        async def read() -> None:
            assert answer.stream is not None
            async for chunk in answer.stream:
                events.extend(json.loads(line) for line in chunk.splitlines())

        self.events.append(events)
        self._reading.append(asyncio.ensure_future(read()))
        await asyncio.sleep(0.1)
        return events

    async def leave(self) -> None:
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)


def test_every_watcher_sees_its_own_selection_and_nothing_else() -> None:
    async def check(client: Client) -> None:
        crowd = Crowd(client)
        made = await client.make(MAPS, config_map("first"))
        now = f"resourceVersion={made['metadata']['resourceVersion']}"
        everything = await crowd.join("/api/v1/configmaps", now)
        here = await crowd.join(MAPS, now)
        same = await crowd.join(MAPS, now)
        elsewhere = await crowd.join("/api/v1/namespaces/kube-system/configmaps", now)
        named = await crowd.join(f"{MAPS}/b", now)
        by_field = await crowd.join(MAPS, f"{now}&fieldSelector=metadata.name=b")
        everywhere_b = await crowd.join(
            "/api/v1/configmaps", f"{now}&fieldSelector=metadata.name=b"
        )
        labelled = await crowd.join(MAPS, f"{now}&labelSelector=on=x")
        pods = await crowd.join(f"{DEFAULT}/pods", now)
        await client.make(MAPS, config_map("a"))
        await client.make(MAPS, config_map("b"))
        await label(client, "a", "x")
        await label(client, "a", "y")
        await client.ask("DELETE", f"{MAPS}/b")
        await asyncio.sleep(1)
        whole = [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("MODIFIED", "a"),
                 ("DELETED", "b")]  # fmt: skip
        assert short(everything) == short(here) == whole and same == here
        assert elsewhere == pods == []
        assert short(named) == [("ADDED", "b"), ("DELETED", "b")]
        assert by_field == named == everywhere_b
        assert short(labelled) == [("ADDED", "a"), ("DELETED", "a")]
        await crowd.leave()

    serving(check)


def test_forms_are_encoded_apart() -> None:
    async def check(client: Client) -> None:
        crowd = Crowd(client)
        plain = await crowd.join(MAPS)
        answer = await client.ask(
            "GET",
            f"{MAPS}?watch=true&timeoutSeconds=3&resourceVersion=1",
            accept="application/json;as=Table;g=meta.k8s.io;v=v1",
        )
        await client.make(MAPS, config_map("a"))
        assert answer.stream is not None
        tables = [json.loads(chunk) async for chunk in answer.stream]
        assert plain[-1]["object"]["kind"] == "ConfigMap"
        assert tables[-1]["object"]["kind"] == "Table"
        await crowd.leave()

    serving(check)


def test_who_joins_late_or_comes_back_sees_each_change_once() -> None:
    async def check(client: Client) -> None:
        crowd = Crowd(client)
        first = await crowd.join(MAPS)
        numbers = [str(number) for number in range(40)]

        async def write() -> None:
            for number in numbers:
                await client.make(MAPS, config_map(f"m{number}"))
                await asyncio.sleep(0.05)

        writing = asyncio.ensure_future(write())
        late = [await crowd.join(MAPS) for _ in range(10)]
        await writing
        await asyncio.sleep(1)
        wanted = [("ADDED", f"m{number}") for number in numbers]
        for events in (first, *late):
            assert [item for item in short(events) if item[1].startswith("m")] == wanted
        await crowd.leave()

    serving(check)


def test_nobody_is_left_behind_in_the_broadcast() -> None:
    async def check(client: Client) -> None:
        crowd = Crowd(client)
        for path in (MAPS, f"{MAPS}/a", "/api/v1/configmaps"):
            await crowd.join(path)
        broadcast = client.api._watcher._broadcast
        assert broadcast._places and broadcast._resources
        await crowd.leave()
        await client.make(MAPS, config_map("a"))
        assert not broadcast._places and not broadcast._resources

    serving(check)


def test_a_reader_who_takes_nothing_is_told_to_list_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broadcast, "BYTES_MAX", 2000)

    async def check(client: Client) -> None:
        await client.make(MAPS, config_map("first"))
        answer = await client.ask("GET", f"{MAPS}?watch=true&resourceVersion=1&timeoutSeconds=60")
        assert answer.stream is not None
        await anext(answer.stream)  # what was there before: reading along has begun
        for number in range(20):
            await client.make(MAPS, config_map(f"m{number}"))
        events = [json.loads(line) async for chunk in answer.stream for line in chunk.splitlines()]
        assert events[-1]["type"] == "ERROR" and events[-1]["object"]["code"] == 410

    serving(check)


def test_many_changes_are_handed_out_in_pieces_that_hold_whole_lines() -> None:
    lines = [b"%d" % number * 5_000 + b"\n" for number in range(100)]
    pieces = broadcast._joined(lines)
    assert b"".join(pieces) == b"".join(lines)
    assert all(len(piece) <= broadcast.CHUNK and piece.endswith(b"\n") for piece in pieces)
    long = b"x" * (broadcast.CHUNK + 1)
    assert broadcast._joined([b"a\n", long, b"b\n"]) == [b"a\n", long, b"b\n"]
