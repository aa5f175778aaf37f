"""Lists: pages of one picture, pictures of the past, and options that make no sense."""

from __future__ import annotations

import pytest

from tests.unit.kube.api.served import DEFAULT, Client, Json, config_map, said, serving

MAPS = f"{DEFAULT}/configmaps"


async def pages(client: Client, path: str, between: str = "") -> list[Json]:
    """Every page of a list; ``between`` is created after the first."""
    found: list[Json] = []
    token = ""
    while True:
        answer = await client.ask("GET", f"{path}&continue={token}" if token else path)
        assert answer.status == 200, answer.body
        found.append(said(answer))
        token = found[-1]["metadata"].get("continue", "")
        if not token:
            return found
        if between and len(found) == 1:
            await client.make(MAPS, config_map(between))


def names(page: Json) -> list[str]:
    return [item["metadata"]["name"] for item in page["items"]]


def test_pages_show_the_picture_of_the_first() -> None:
    async def check(client: Client) -> None:
        for name in "abcde":
            await client.make(MAPS, config_map(name, key=name))
        found = await pages(client, f"{MAPS}?limit=2", between="bb")
        assert [names(page) for page in found] == [["a", "b"], ["c", "d"], ["e"]]
        assert len({page["metadata"]["resourceVersion"] for page in found}) == 1
        assert found[0]["metadata"]["remainingItemCount"] == 3
        assert "bb" in names(said(await client.ask("GET", MAPS)))

    serving(check)


def test_selectors_hold_across_pages() -> None:
    async def check(client: Client) -> None:
        for name in ("a", "b", "c", "d"):
            body = config_map(name)
            body["metadata"]["labels"] = {"odd": "yes" if name in "ac" else "no"}
            await client.make(MAPS, body)
        path = f"{MAPS}?limit=1&labelSelector=odd%3Dyes".replace("%3D", "=")
        found = await pages(client, path, between="later")
        assert [names(page) for page in found] == [["a"], ["c"]]
        assert "remainingItemCount" not in found[0]["metadata"]

    serving(check)


def test_a_version_of_the_past_is_shown_exactly_until_it_is_compacted() -> None:
    async def check(client: Client) -> None:
        await client.make(MAPS, config_map("a"))
        version = said(await client.ask("GET", MAPS))["metadata"]["resourceVersion"]
        await client.make(MAPS, config_map("b"))
        path = f"{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact"
        page = said(await client.ask("GET", path))
        assert names(page) == ["a"]
        assert page["metadata"]["resourceVersion"] == version
        assert names(said(await client.ask("GET", f"{MAPS}?resourceVersion={version}"))) == [
            "a", "b",
        ]  # fmt: skip
        first = said(await client.ask("GET", f"{MAPS}?limit=1"))["metadata"]["continue"]
        await client.make(MAPS, config_map("c"))
        await client.api.api.store.compact(await client.api.api.store.version())
        assert (await client.ask("GET", path)).status == 410
        gone = await client.ask("GET", f"{MAPS}?limit=1&continue={first}")
        assert (gone.status, said(gone)["reason"]) == (410, "Expired")
        rest = await client.ask("GET", f"{MAPS}?continue={said(gone)['metadata']['continue']}")
        assert names(said(rest)) == ["b", "c"]

    serving(check)


def test_a_version_to_come_is_told_by_a_cause_that_clients_know() -> None:
    async def check(client: Client) -> None:
        answer = await client.ask("GET", f"{MAPS}?resourceVersion=99999999999")
        assert answer.status == 504
        assert said(answer)["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
        assert answer.headers["retry-after"] == "1"

    serving(check)


WRONG = [
    ("resourceVersion=x", 400, "invalid resource version"),
    ("limit=x", 400, "strconv.ParseInt"),
    ("continue=abc", 400, "continue key is not valid"),
    ("continue=eyJ2IjoicHJvYS92MSIsInJ2IjoxLCJzdGFydCI6Ii9hd3MvIn0", 400, "continue key"),
    ("resourceVersionMatch=Exact", 422, "forbidden unless resourceVersion is provided"),
    ("resourceVersion=0&resourceVersionMatch=Exact", 422, "forbidden for resourceVersion"),
    ("resourceVersion=1&resourceVersionMatch=Most", 422, 'supported values: "Exact"'),
    ("resourceVersion=1&resourceVersionMatch=Exact&continue=a", 422, "when continue is provided"),
    ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
    ("watch=1&sendInitialEvents=true", 422, "requires setting resourceVersionMatch"),
    ("watch=1&resourceVersionMatch=NotOlderThan", 422, "unless sendInitialEvents is provided"),
    ("watch=1&resourceVersion=-1", 400, "invalid resource version"),
    ("watch=1&timeoutSeconds=x", 400, "strconv.ParseInt"),
    ("fieldSelector=data.a=b", 400, "is not a known field selector"),
    ("labelSelector=a in (", 400, "unable to parse requirement"),
]


@pytest.mark.parametrize(("query", "status", "text"), WRONG)
def test_options_that_make_no_sense_are_refused(query: str, status: int, text: str) -> None:
    async def check(client: Client) -> None:
        answer = await client.ask("GET", f"{MAPS}?{query}")
        assert answer.status == status, answer.body
        assert text in said(answer)["message"]

    serving(check)
