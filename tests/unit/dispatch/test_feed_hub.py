"""One subscription feeds all agents, and each hears of its own Sandboxes only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from proa.base.config import Config
from proa.cloud import compute
from proa.dispatch.hub import FeedHub
from proa.model.feed import Assign, Instances, Rules, Synced, Zones
from proa.store.api import Delete
from tests.unit.dispatch.bow import Bow, Job, play


def hub_of(bow: Bow) -> FeedHub:
    return FeedHub(bow.view, bow.clock, Config(), [bow.skin])


class Taker:
    """Reads a stream for as long as it is there. A crowd's comes in batches."""

    def __init__(self, bow: Bow, stream: AsyncIterator[Any]) -> None:
        self.news: list[Any] = []
        bow.tasks.spawn(self._read(stream), "taker")

    async def _read(self, stream: AsyncIterator[Any]) -> None:
        async for message in stream:
            self.news += message if isinstance(message, list) else [message]

    def take(self) -> list[Any]:
        news, self.news = self.news, []
        return news


def wants(messages: list[Any]) -> list[tuple[str, str]]:
    return [
        (item.assignment.uid, item.assignment.want) for item in messages if isinstance(item, Assign)
    ]


def test_an_agent_hears_what_is_there_and_then_what_changes_on_its_host() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 10)
        await bow.host("b", 10)
        await bow.put("/jobs/here", Job(1, "a"))
        await bow.put("/jobs/there", Job(1, "b"))
        taker = Taker(bow, hub_of(bow).open("a").stream())
        await bow.clock.sleep(1)
        first = taker.take()
        kinds = [type(item) for item in first]
        assert kinds == [Instances, Assign, Rules, Zones, Synced]
        assert wants(first) == [("/jobs/here", "run")]
        await bow.put("/jobs/new", Job(1, "a"))
        await bow.put("/jobs/there", Job(2, "b"))
        await bow.clock.sleep(1)
        assert wants(taker.take()) == [("/jobs/new", "run")]

    play(scene)


def test_a_sandbox_that_goes_is_told_to_the_host_that_knew_it() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 10)
        await bow.put("/jobs/one", Job(1, "a"))
        taker = Taker(bow, hub_of(bow).open("a").stream())
        await bow.clock.sleep(1)
        taker.take()
        await bow.write(Delete("/jobs/one"))
        await bow.clock.sleep(1)
        assert wants(taker.take()) == [("/jobs/one", "gone")]

    play(scene)


def test_what_was_on_an_instance_before_it_came_is_told_once_it_is_there() -> None:
    async def scene(bow: Bow) -> None:
        await bow.put("/jobs/one", Job(1, "a"))
        taker = Taker(bow, hub_of(bow).open("a").stream())
        await bow.clock.sleep(1)
        assert wants(taker.take()) == []
        await bow.host("a", 10)
        await bow.clock.sleep(1)
        assert wants(taker.take()) == [("/jobs/one", "run")]

    play(scene)


def test_a_crowd_hears_of_many_hosts_on_one_stream_without_rules() -> None:
    async def scene(bow: Bow) -> None:
        for name in ("a", "b", "c"):
            await bow.host(name, 10)
            await bow.put(f"/jobs/{name}", Job(1, name))
        taker = Taker(bow, hub_of(bow).open_many(["a", "b"]).stream())
        await bow.clock.sleep(1)
        first = taker.take()
        assert [(host, type(item)) for host, item in first] == [
            (host, kind) for host in ("a", "b") for kind in (Instances, Assign, Synced)
        ]
        await bow.put("/jobs/more", Job(1, "b"))
        await bow.put("/jobs/other", Job(1, "c"))
        await bow.clock.sleep(1)
        assert [(host, item.assignment.uid) for host, item in taker.take()] == [("b", "/jobs/more")]

    play(scene)


def test_a_change_touches_the_hosts_it_concerns_and_no_other() -> None:
    async def scene(bow: Bow) -> None:
        names = [f"h{number:03}" for number in range(100)]
        for name in names:
            await bow.host(name, 10)
        hub = hub_of(bow)
        taker = Taker(bow, hub.open_many(names).stream())
        await bow.clock.sleep(1)
        taker.take()
        asked: list[str] = []
        assignment = bow.skin.assignment

        async def counted(view: Any, key: str, told: str = "") -> Any:
            asked.append(key)
            return await assignment(view, key, told)

        bow.skin.assignment = counted  # type: ignore[method-assign]
        await bow.put("/jobs/one", Job(1, "h042"))
        await bow.clock.sleep(1)
        assert asked == ["/jobs/one"]
        assert [host for host, _ in taker.take()] == ["h042"]

    play(scene)


def test_what_is_compiled_as_a_crowd_s_feed_is_closed_is_neither_told_nor_followed() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 10)
        hub = hub_of(bow)
        feed = hub.open_many(["a"])
        taker = Taker(bow, feed.stream())
        await bow.clock.sleep(1)
        taker.take()
        assignment = bow.skin.assignment

        async def slow(view: Any, key: str, told: str = "") -> Any:
            await bow.clock.sleep(1)
            return await assignment(view, key, told)

        bow.skin.assignment = slow  # type: ignore[method-assign]
        await bow.put("/jobs/one", Job(1, "a"))
        await bow.put("/jobs/two", Job(1, "a"))
        await bow.clock.sleep(0.5)
        feed.close()
        await bow.clock.sleep(5)
        assert taker.take() == []
        assert not hub._of_key

    play(scene)


def test_a_closed_feed_follows_nothing_and_is_kept_by_nobody() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 10)
        await bow.put("/jobs/one", Job(1, "a"))
        hub = hub_of(bow)
        feed = hub.open("a")
        taker = Taker(bow, feed.stream())
        await bow.clock.sleep(1)
        feed.close()
        taker.take()
        await bow.put("/jobs/one", Job(2, "a"))
        await bow.clock.sleep(1)
        assert taker.take() == []
        assert not hub._of_host
        assert not hub._of_key

    play(scene)


def test_all_hosts_get_the_same_rules_object() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 10)
        await bow.host("b", 10)
        hub = hub_of(bow)
        takers = [Taker(bow, hub.open(name).stream()) for name in ("a", "b")]
        await bow.clock.sleep(1)
        rules = [item for taker in takers for item in taker.take() if isinstance(item, Rules)]
        assert len(rules) == 2
        assert rules[0] is rules[1]

    play(scene)


def test_a_host_that_changes_is_described_anew_to_its_own_agent_alone() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 10)
        await bow.host("b", 10)
        taker = Taker(bow, hub_of(bow).open_many(["a", "b"]).stream())
        await bow.clock.sleep(1)
        taker.take()
        await bow.host("a", 20)
        await bow.clock.sleep(1)
        news = taker.take()
        assert {host for host, _ in news} == {"a"}
        assert news[-1][1].host.pool.cpu == 20
        assert compute.instances_on(bow.view, "a")[0].capacity.cpu == 20

    play(scene)
