"""Watches: what a watcher sees, from where, and until when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

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
