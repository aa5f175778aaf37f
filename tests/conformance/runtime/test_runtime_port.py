"""What every Runtime must do: the same tests on containerd and on the simulated one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from proa.base.errors import CallerFault, TryAgain
from proa.node.ports import ExecRequest, Exited, ImageError, NotFound, Runtime
from tests.conformance.runtime.daemon import BUSYBOX
from tests.conformance.runtime.worlds import COMMAND, SimWorld, World


@pytest.fixture(scope="module", params=["sim", pytest.param("containerd", marks=pytest.mark.root)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "sim":
        yield SimWorld()
        return
    yield request.getfixturevalue("containerd")


async def next_exit(events: AsyncIterator[Exited | None], id: str) -> Exited:
    async for event in events:
        if event is not None and event.id == id:
            return event
    raise AssertionError("the stream ended")


def test_a_container_runs_and_is_listed_by_its_identity(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        spec = world.sandbox("run")
        sandbox = await runtime.run_sandbox(spec)
        assert sandbox.address == "10.9.8.7"
        id = await world.start(runtime, spec, sandbox, "polite")
        listing = await runtime.list()
        assert [(item.uid, item.ready) for item in listing.sandboxes] == [("run", True)]
        (seen,) = listing.containers
        assert (seen.id, seen.uid, seen.name, seen.attempt) == (id, "run", "polite", 0)
        assert seen.state == "running"
        assert seen.sandbox_id == sandbox.id
        assert seen.started_at >= seen.created_at > 0

    world.play(story)


def test_an_exit_is_told_with_its_code(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        events = runtime.events()
        assert await anext(events) is None
        spec = world.sandbox("exit")
        sandbox = await runtime.run_sandbox(spec)
        id = await world.start(runtime, spec, sandbox, "brief")
        event = await next_exit(events, id)
        assert (event.exit_code, event.oom) == (3, False)
        seen = await runtime.container(id)
        assert (seen.state, seen.exit_code) == ("exited", 3)
        await events.aclose()  # type: ignore[attr-defined]

    world.play(story)


def test_stopping_lets_a_polite_container_end_by_itself(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        spec = world.sandbox("polite")
        sandbox = await runtime.run_sandbox(spec)
        id = await world.start(runtime, spec, sandbox, "polite")
        await world.clock.sleep(0.3)  # until its trap is set
        await runtime.stop_container(id, 20)
        assert (await runtime.container(id)).exit_code == 7
        await runtime.stop_container(id, 20)  # repeated: no error

    world.play(story)


@pytest.mark.parametrize("signal", ["", "SIGTERM"])
def test_stopping_kills_a_stubborn_container_after_the_grace(world: World, signal: str) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        spec = world.sandbox(f"stubborn{signal.lower()}")
        sandbox = await runtime.run_sandbox(spec)
        id = await world.start(runtime, spec, sandbox, "stubborn")
        await world.clock.sleep(0.3)
        await runtime.stop_container(id, 1, signal)
        assert (await runtime.container(id)).exit_code == 137

    world.play(story)


def test_a_command_that_does_not_exist_is_the_callers_fault(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        spec = world.sandbox("broken")
        sandbox = await runtime.run_sandbox(spec)
        id = await world.create(runtime, spec, sandbox, "broken")
        with pytest.raises(CallerFault, match="/nosuch"):
            await runtime.start_container(id)
        seen = await runtime.container(id)
        assert (seen.state, seen.exit_code, seen.reason) == ("exited", 128, "StartError")

    world.play(story)


def test_attempts_of_one_container_stand_beside_each_other(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        spec = world.sandbox("attempts")
        sandbox = await runtime.run_sandbox(spec)
        for attempt in (0, 1):
            id = await world.create(runtime, spec, sandbox, "fine", attempt)
            await runtime.start_container(id)
        found = sorted(item.attempt for item in (await runtime.list()).containers)
        assert found == [0, 1]
        with pytest.raises(CallerFault):
            await world.create(runtime, spec, sandbox, "fine", 1)

    world.play(story)


def test_stopping_a_sandbox_ends_its_containers_and_releases_its_address(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        spec = world.sandbox("stop")
        sandbox = await runtime.run_sandbox(spec)
        id = await world.start(runtime, spec, sandbox, "polite")
        assert "stop" in world.network.attached
        await runtime.stop_sandbox(sandbox.id)
        assert "stop" not in world.network.attached
        listing = await runtime.list()
        assert [item.ready for item in listing.sandboxes] == [False]
        assert (await runtime.container(id)).state == "exited"
        await runtime.stop_sandbox(sandbox.id)

    world.play(story)


def test_removing_a_sandbox_leaves_nothing(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        spec = world.sandbox("remove")
        sandbox = await runtime.run_sandbox(spec)
        id = await world.start(runtime, spec, sandbox, "polite")
        await runtime.remove_sandbox(sandbox.id)
        listing = await runtime.list()
        assert (listing.sandboxes, listing.containers) == ((), ())
        with pytest.raises(NotFound):
            await runtime.container(id)
        await runtime.remove_sandbox(sandbox.id)
        await runtime.remove_container(id)
        await runtime.stop_container(id, 1)

    world.play(story)


def test_a_late_release_of_an_earlier_attempt_does_no_harm(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        spec = world.sandbox("twice")
        first = await runtime.run_sandbox(spec)
        await runtime.stop_sandbox(first.id)
        second = await runtime.run_sandbox(
            type(spec)(spec.sandbox, 1, spec.log_dir, spec.host_namespace)
        )
        await runtime.remove_sandbox(first.id)
        assert "twice" in world.network.attached
        (left,) = (await runtime.list()).sandboxes
        assert (left.id, left.attempt, left.ready) == (second.id, 1, True)

    world.play(story)


def test_images_are_found_or_refused(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        found = await runtime.image(BUSYBOX)
        assert found is not None and found.id
        assert await runtime.image("docker.io/library/absent:1") is None
        with pytest.raises(TryAgain):
            await runtime.pull("absent.example/none:1")
        with pytest.raises(ImageError):
            await runtime.pull("not a reference")

    world.play(story)


def test_a_command_runs_inside_a_container(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        spec = world.sandbox("exec")
        sandbox = await runtime.run_sandbox(spec)
        id = await world.start(runtime, spec, sandbox, "polite")
        done = await runtime.exec_sync(id, COMMAND, 10)
        assert (done.exit_code, done.stdout) == (4, b"hello")
        session = await runtime.exec(id, ExecRequest(COMMAND))
        output = [item async for item in session.output()]
        assert output == [(1, b"hello")]
        assert await session.wait() == 4
        await session.close()

    world.play(story)


def test_a_command_in_a_container_that_has_ended_is_refused(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        spec = world.sandbox("ended")
        sandbox = await runtime.run_sandbox(spec)
        id = await world.start(runtime, spec, sandbox, "polite")
        await runtime.stop_container(id, 0)
        with pytest.raises(CallerFault):
            await runtime.exec_sync(id, COMMAND, 10)
        with pytest.raises(CallerFault):
            await runtime.exec(id, ExecRequest(COMMAND))

    world.play(story)


def test_usage_names_the_containers_that_run(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        spec = world.sandbox("usage")
        sandbox = await runtime.run_sandbox(spec)
        await world.start(runtime, spec, sandbox, "polite")
        (usage,) = [item for item in await runtime.usage() if item.uid == "usage"]
        assert usage.name == "polite"
        assert usage.at > 0

    world.play(story)


def test_a_network_of_none_needs_no_address(world: World) -> None:
    async def story(runtime: Runtime, world: World) -> None:
        from proa.model.sandbox import Network

        spec = world.sandbox("none", network=Network(mode="none", hostname="lonely"))
        sandbox = await runtime.run_sandbox(spec)
        assert sandbox.address == ""
        assert "none" not in world.network.attached
        await asyncio.gather(world.start(runtime, spec, sandbox, "polite"))

    world.play(story)
