"""What both APIs ask of a container's life, beyond start and stop: restart policies, sidecars,
hooks, checks that fail by themselves, networks of single containers, and starts after a restart."""

from __future__ import annotations

from proa.model.feed import Instances
from proa.model.host import Host, Instance
from proa.model.sandbox import Container, File, Network, Probe, Volume
from proa.node.ports import AttachRequest
from proa.node.sim import Behaviour
from tests.conformance.runtime.control import POOL
from tests.unit.node.stage import Play, play, sandbox


def test_a_task_restarts_a_container_that_ran_long_enough_at_once() -> None:
    async def story(stage: Play) -> None:
        spec = Container("main", "image", restart="Always", restart_after_s=60)
        stage.control.want(sandbox("task", spec, skin="ecs"))
        await stage.sleep(200)
        status = stage.control.status["task"]
        assert (status.phase, status.containers[0].attempt) == ("running", 1)
        assert status.containers[0].state == "running"

    play(story, main=Behaviour(runs_s=100, exit_code=1))


def test_a_task_does_not_restart_a_container_that_ran_too_short() -> None:
    async def story(stage: Play) -> None:
        spec = Container("main", "image", restart="Always", restart_after_s=60)
        stage.control.want(sandbox("task", spec, skin="ecs"))
        status = await stage.control.gone("task")
        assert stage.starts("task") == ["main"]
        assert status.containers[0].exit_code == 1

    play(story, main=Behaviour(runs_s=10, exit_code=1))


def test_a_task_does_not_restart_after_an_ignored_exit_code() -> None:
    async def story(stage: Play) -> None:
        spec = Container(
            "main", "image", restart="Always", restart_after_s=60, restart_ignored=(0, 3)
        )
        stage.control.want(sandbox("task", spec, skin="ecs"))
        await stage.sleep(100)
        status = await stage.control.gone("task")
        assert stage.starts("task") == ["main"]
        assert status.containers[0].exit_code == 3

    play(story, main=Behaviour(runs_s=100, exit_code=3))


def test_sidecars_end_in_reverse_order_and_their_ends_do_not_count() -> None:
    async def story(stage: Play) -> None:
        sidecars = [Container(name, "image", init=True, restart="Always") for name in "abc"]
        stage.control.want(sandbox("job", *sidecars, Container("main", "image")))
        await stage.sleep(60)
        status = stage.control.status["job"]
        assert stage.starts("job") == ["a", "b", "c", "main"]
        ends = {item.name: item.finished_at for item in status.containers}
        assert sorted(ends, key=lambda name: ends[name]) == ["main", "c", "b", "a"]
        assert status.containers[0].exit_code == 143
        assert status.phase == "succeeded"

    stopped = Behaviour(stop_exit_code=143)
    play(story, main=Behaviour(runs_s=5), a=stopped, b=stopped, c=stopped)


def test_a_sidecar_that_crashes_is_restarted_before_anything_else_starts() -> None:
    async def story(stage: Play) -> None:
        ready = Probe(tcp_port=80, period_s=1, failures=30)
        sidecar = Container("proxy", "image", init=True, restart="Always", startup=ready)
        stage.control.want(sandbox("pod", sidecar, Container("main", "image")))
        await stage.sleep(4)
        stage.runtime.kill("pod.0.proxy.0", 1)
        assert stage.starts("pod") == ["proxy"]
        await stage.sleep(30)
        assert stage.starts("pod") == ["proxy", "proxy", "main"]

    play(story, proxy=Behaviour(ready_s=6))


def test_a_hook_may_sleep_longer_than_a_probe_may_take() -> None:
    async def story(stage: Play) -> None:
        spec = Container("main", "image", pre_stop=Probe(sleep_s=7), post_start=Probe(sleep_s=3))
        stage.control.want(sandbox("pod", spec, Container("second", "image")))
        await stage.control.until("pod", lambda status: status.phase == "running")
        first, second = (item.started_at for item in stage.control.status["pod"].containers)
        assert 3 <= second - first < 4
        began = stage.clock.now()
        stage.control.want(sandbox("pod", spec), "stop", grace_s=30)
        last = await stage.control.gone("pod")
        assert 7 <= last.containers[0].finished_at - began < 9
        assert "FailedPreStopHook" not in stage.control.reasons("pod")

    play(story)


def test_a_hook_that_outlasts_the_grace_is_cut_short() -> None:
    async def story(stage: Play) -> None:
        spec = Container("main", "image", pre_stop=Probe(sleep_s=100))
        stage.control.want(sandbox("pod", spec))
        await stage.control.until("pod", lambda status: status.phase == "running")
        began = stage.clock.now()
        stage.control.want(sandbox("pod", spec), "stop", grace_s=10)
        last = await stage.control.gone("pod")
        assert 10 <= last.containers[0].finished_at - began < 13
        assert "FailedPreStopHook" in stage.control.reasons("pod")

    play(story)


def test_an_outage_of_the_runtime_fails_no_probe() -> None:
    async def story(stage: Play) -> None:
        probe = Probe(command=("true",), period_s=1, failures=2)
        spec = Container("main", "image", liveness=probe, readiness=probe, restart="Always")
        stage.control.want(sandbox("pod", spec))
        await stage.control.running("pod")
        stage.runtime.away = True
        await stage.sleep(20)
        stage.runtime.away = False
        await stage.sleep(5)
        container = stage.control.status["pod"].containers[0]
        assert (container.attempt, container.ready) == (0, True)
        assert "Unhealthy" not in stage.control.reasons("pod")

    play(story)


def test_a_liveness_probe_may_shorten_the_grace() -> None:
    async def story(stage: Play) -> None:
        probe = Probe(tcp_port=80, period_s=1, failures=2, grace_s=3)
        spec = Container("main", "image", liveness=probe, restart="Always")
        stage.control.want(sandbox("pod", spec, grace_s=60))
        status = await stage.control.until("pod", lambda status: status.containers[0].attempt == 1)
        last = status.containers[0].last
        assert last is not None and last.exit_code == 137
        assert last.finished_at - last.started_at < 10

    play(story, main=Behaviour(ready_s=1000, stops_s=None))


def test_a_container_has_a_network_of_its_own_until_the_task_ends() -> None:
    async def story(stage: Play) -> None:
        own = Network(address="10.0.0.10", hostname="side")
        wanted = sandbox(
            "task", Container("main", "image"), Container("side", "image", network=own)
        )
        stage.control.want(wanted)
        await stage.control.until("task", lambda status: status.phase == "running")
        both = {"task": "10.0.0.9", "task#side": "10.0.0.10"}
        assert stage.network.attached == both
        await stage.stop()
        await stage.start()
        await stage.sleep(5)
        assert stage.network.attached == both
        stage.control.want(wanted, "stop")
        await stage.control.gone("task")
        assert stage.network.attached == {}

    play(story)


def test_a_new_agent_starts_sandboxes_before_the_control_plane_speaks() -> None:
    async def story(stage: Play) -> None:
        known = Instance(id="i-1", host="h-1", cluster="/kube/c/", address="10.0.0.1")
        stage.control.instances = Instances(Host("h-1", pool=POOL), (known,))
        stage.control.want(sandbox("pod", Container("main", "image", restart="Always")))
        await stage.control.running("pod")
        await stage.stop()
        await stage.runtime.remove_sandbox("pod.0")  # as a reboot does
        stage.network.instances = None
        stage.control.away = True
        await stage.start()
        await stage.sleep(5)
        assert stage.network.instances == stage.control.instances
        assert [item.state for item in (await stage.runtime.list()).containers] == ["running"]

    play(story)


def test_an_image_waits_for_proas_own_registry_without_a_failure() -> None:
    async def story(stage: Play) -> None:
        stage.runtime.registry_away = True
        stage.control.want(sandbox("pod", Container("main", "image")))
        await stage.sleep(15)
        assert stage.control.status["pod"].containers[0].reason == "ContainerCreating"
        stage.runtime.registry_away = False
        await stage.sleep(3)
        assert stage.control.status["pod"].containers[0].state == "running"
        assert stage.control.reasons("pod") == ["Pulling", "Pulled", "Created", "Started"]

    play(story)


def test_a_container_that_was_only_created_is_no_failed_attempt() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("job", Container("work", "image")))
        while not (await stage.runtime.list()).containers:
            await stage.sleep(0.01)
        await stage.stop()
        (seen,) = (await stage.runtime.list()).containers
        assert seen.state == "created"
        await stage.start()
        status = await stage.control.until("job", lambda status: status.phase == "succeeded")
        assert status.containers[0].attempt == 0

    play(story, work=Behaviour(start_s=5, runs_s=2))


def test_a_startup_probe_goes_on_after_a_restart_of_the_agent() -> None:
    async def story(stage: Play) -> None:
        probe = Probe(tcp_port=80, period_s=1, failures=60)
        spec = Container("main", "image", startup=probe, restart="Always")
        stage.control.want(sandbox("pod", spec))
        await stage.control.until("pod", lambda status: status.phase == "running")
        await stage.sleep(5)
        await stage.stop()
        await stage.start()
        await stage.sleep(5)
        container = stage.control.status["pod"].containers[0]
        assert (container.state, container.started, container.ready) == ("running", False, False)
        status = await stage.control.until("pod", lambda status: status.containers[0].ready)
        assert status.containers[0].attempt == 0

    play(story, main=Behaviour(ready_s=30))


def test_attaching_in_simulation_lasts_as_long_as_the_container() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("job", Container("work", "image", stdin=True)))
        seen = await stage.control.running("job")
        session = await stage.runtime.attach(seen.id, AttachRequest(stdin=True))
        await session.write(b"ignored")
        assert [item async for item in session.output()] == []
        assert await session.wait() == 0
        assert (await stage.runtime.container(seen.id)).state == "exited"

    play(story, work=Behaviour(runs_s=9))


def test_files_that_came_while_the_sandbox_was_made_are_there_at_the_start() -> None:
    async def story(stage: Play) -> None:
        blocked = "ContainerCreating: no secret yet"
        spec = Container("main", "image", blocked=blocked)
        stage.control.want(sandbox("pod", spec, volumes=(Volume("v", "files"),)))
        await stage.sleep(0.01)
        filled = Volume("v", "files", files=(File("key", b"value"),))
        stage.control.want(sandbox("pod", Container("main", "image"), volumes=(filled,)))
        await stage.control.running("pod")
        assert stage.volumes.made["pod"] == (filled,)

    play(story)
