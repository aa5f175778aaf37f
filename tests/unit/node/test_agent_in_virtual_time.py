"""Lives of Sandboxes on a simulated Host: order, restarts, probes, ends, refusals."""

from __future__ import annotations

from itertools import pairwise

from proa.model.resources import Port, Resources
from proa.model.sandbox import Container, Dependency, Probe, Sandbox, SandboxStatus
from proa.node.sim import Behaviour
from tests.conformance.runtime.control import CPU
from tests.unit.node.stage import Play, play, sandbox


def phases(stage: Play, uid: str) -> list[str]:
    """Phases as reported, without repetitions."""
    found: list[str] = []
    for status in stage.control.history:
        if status.uid == uid and status.phase not in found[-1:]:
            found.append(status.phase)
    return found


def test_a_pod_goes_from_pending_to_running_to_succeeded() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("job", Container("work", "image")))
        await stage.sleep(60)
        assert phases(stage, "job") == ["pending", "running", "succeeded"]
        status = stage.control.status["job"]
        assert not status.gone
        assert status.containers[0].exit_code == 0
        assert "job" not in stage.network.attached

    play(story, work=Behaviour(runs_s=5))


def test_init_containers_run_one_after_the_other_before_the_rest() -> None:
    async def story(stage: Play) -> None:
        first = Container("first", "image", init=True, restart="OnFailure")
        second = Container("second", "image", init=True, restart="OnFailure")
        stage.control.want(sandbox("pod", first, second, Container("main", "image")))
        await stage.control.until("pod", lambda status: status.phase == "running")
        assert stage.starts("pod") == ["first", "second", "main"]
        waiting = [
            status.containers[2].reason
            for status in stage.control.history
            if status.containers[2].state == "waiting"
        ]
        assert waiting[0] == "PodInitializing"

    play(story, first=Behaviour(runs_s=2), second=Behaviour(runs_s=2))


def test_a_sidecar_starts_before_the_rest_and_ends_after_them() -> None:
    async def story(stage: Play) -> None:
        sidecar = Container("proxy", "image", init=True, restart="Always")
        stage.control.want(sandbox("pod", sidecar, Container("main", "image")))
        await stage.sleep(30)
        assert stage.starts("pod") == ["proxy", "main"]
        status = stage.control.status["pod"]
        assert status.phase == "succeeded"
        assert status.containers[0].finished_at > status.containers[1].finished_at

    play(story, main=Behaviour(runs_s=3))


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    async def story(stage: Play) -> None:
        init = Container("setup", "image", init=True)
        stage.control.want(sandbox("pod", init, Container("main", "image")))
        await stage.sleep(20)
        assert stage.control.status["pod"].phase == "failed"
        assert stage.starts("pod") == ["setup"]

    play(story, setup=Behaviour(runs_s=1, exit_code=1))


def test_a_crashing_container_is_restarted_with_doubling_delays() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("pod", Container("main", "image", restart="Always")))
        await stage.sleep(160)
        begun = sorted(
            {s.containers[0].started_at for s in stage.control.history if s.containers[0].pid}
        )
        gaps = [round(later - sooner - 1) for sooner, later in pairwise(begun)]
        assert gaps == [0, 10, 20, 40, 80]
        waiting = [s.containers[0].message for s in stage.control.history]
        text = "back-off 20s restarting failed container=main pod=name-pod_default(pod)"
        assert text in waiting

    play(story, main=Behaviour(runs_s=1, exit_code=1, start_s=0))


def test_a_kill_for_memory_is_told_even_if_its_word_comes_after_the_exit() -> None:
    killed = Behaviour(runs_s=1, exit_code=137, oom=True, oom_told_s=2)

    async def ends(stage: Play) -> None:
        stage.control.want(sandbox("pod", Container("main", "image")))
        await stage.sleep(20)
        assert stage.control.status["pod"].containers[0].reason == "OOMKilled"

    async def goes_on(stage: Play) -> None:
        stage.control.want(sandbox("pod", Container("main", "image", restart="Always")))
        await stage.sleep(10)
        last = stage.control.status["pod"].containers[0].last
        assert last is not None and last.reason == "OOMKilled"

    play(ends, main=killed)
    play(goes_on, main=killed)


def test_a_long_run_makes_earlier_crashes_forgotten() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("pod", Container("main", "image", restart="Always")))
        await stage.sleep(3 * 700 + 10)
        assert stage.control.status["pod"].containers[0].attempt == 3

    play(story, main=Behaviour(runs_s=700, exit_code=1))


def test_a_failed_pull_is_told_and_tried_again_later() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("pod", Container("main", "image")))
        await stage.sleep(5)
        reasons = [s.containers[0].reason for s in stage.control.history if s.containers]
        assert "ErrImagePull" in reasons
        assert reasons[-1] == "ImagePullBackOff"
        stage.behaviours["image"] = Behaviour()
        await stage.control.running("pod")
        failed = [event.message for event in stage.control.events if event.reason == "Failed"]
        assert 'Failed to pull image "image": not found' in failed

    play(story, image=Behaviour(pull_error="not found"))


def test_a_missing_image_that_may_not_be_pulled_is_told() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("pod", Container("main", "image", pull="Never")))
        await stage.sleep(2)
        assert stage.control.status["pod"].containers[0].reason == "ErrImageNeverPull"

    play(story)


def test_the_end_of_an_essential_container_ends_the_task() -> None:
    async def story(stage: Play) -> None:
        main, helper = Container("main", "image"), Container("helper", "image")
        stage.control.want(sandbox("task", main, helper, skin="ecs"))
        status = await stage.control.gone("task")
        assert [item.state for item in status.containers] == ["exited", "exited"]
        assert status.containers[0].exit_code == 3
        assert status.reason == ""

    play(story, main=Behaviour(runs_s=5, exit_code=3))


def test_the_end_of_another_container_leaves_the_task_running() -> None:
    async def story(stage: Play) -> None:
        helper = Container("helper", "image", essential=False)
        stage.control.want(sandbox("task", Container("main", "image"), helper, skin="ecs"))
        await stage.sleep(20)
        status = stage.control.status["task"]
        assert status.phase == "running"
        assert status.containers[1].state == "exited"

    play(story, helper=Behaviour(runs_s=1))


def test_dependencies_hold_a_container_up_until_they_are_met() -> None:
    async def story(stage: Play) -> None:
        migrate = Container("migrate", "image", essential=False)
        main = Container("main", "image", depends_on=(Dependency("migrate", "SUCCESS"),))
        stage.control.want(sandbox("task", main, migrate, skin="ecs"))
        await stage.control.until("task", lambda status: status.phase == "running")
        assert stage.starts("task") == ["migrate", "main"]

    play(story, migrate=Behaviour(runs_s=4))


def test_a_dependency_that_can_never_be_met_ends_the_task() -> None:
    async def story(stage: Play) -> None:
        migrate = Container("migrate", "image", essential=False)
        main = Container("main", "image", depends_on=(Dependency("migrate", "SUCCESS"),))
        stage.control.want(sandbox("task", main, migrate, skin="ecs"))
        await stage.control.gone("task")
        assert stage.starts("task") == ["migrate"]

    play(story, migrate=Behaviour(runs_s=4, exit_code=1))


def test_a_health_check_of_a_task_is_reported_and_restarts_nothing() -> None:
    async def story(stage: Play) -> None:
        probe = Probe(command=("check",), period_s=5, failures=2)
        stage.control.want(sandbox("task", Container("main", "image", readiness=probe), skin="ecs"))
        await stage.sleep(30)
        container = stage.control.status["task"].containers[0]
        assert (container.healthy, container.attempt, container.state) == (False, 0, "running")
        unknown = [s.containers[0].healthy for s in stage.control.history if s.containers[0].pid]
        assert unknown[0] is None

    play(story, main=Behaviour(command_exit_code=1))


def test_failures_within_the_start_period_do_not_count() -> None:
    async def story(stage: Play) -> None:
        probe = Probe(command=("check",), period_s=1, failures=1, start_period_s=20)
        stage.control.want(sandbox("task", Container("main", "image", readiness=probe), skin="ecs"))
        await stage.sleep(15)
        assert stage.control.status["task"].containers[0].healthy is None
        await stage.sleep(15)
        assert stage.control.status["task"].containers[0].healthy is False

    play(story, main=Behaviour(command_exit_code=1))


def test_a_startup_probe_holds_the_others_back() -> None:
    async def story(stage: Play) -> None:
        main = Container(
            "main",
            "image",
            startup=Probe(tcp_port=80, period_s=1, failures=30),
            liveness=Probe(tcp_port=80, period_s=1, failures=1),
        )
        stage.control.want(sandbox("pod", main))
        await stage.sleep(20)
        container = stage.control.status["pod"].containers[0]
        assert (container.attempt, container.started, container.ready) == (0, True, True)

    play(story, main=Behaviour(ready_s=10))


def test_a_stop_ends_within_its_grace_and_leaves_nothing() -> None:
    async def story(stage: Play) -> None:
        wanted = sandbox("pod", Container("main", "image"))
        stage.control.want(wanted)
        await stage.control.running("pod")
        begun = stage.clock.now()
        stage.control.want(wanted, "stop", grace_s=7)
        status = await stage.control.gone("pod")
        assert status.containers[0].exit_code == 137
        assert 7 <= stage.clock.now() - begun < 8
        assert (await stage.runtime.list()).sandboxes == ()

    play(story, main=Behaviour(stops_s=None))


def test_a_vanished_record_cuts_a_long_grace_short() -> None:
    async def story(stage: Play) -> None:
        wanted = sandbox("pod", Container("main", "image"))
        stage.control.want(wanted)
        await stage.control.running("pod")
        begun = stage.clock.now()
        stage.control.want(wanted, "stop", grace_s=600)
        await stage.sleep(5)
        stage.control.vanish("pod")
        await stage.control.gone("pod")
        assert stage.clock.now() - begun < 7
        await stage.sleep(1)
        assert stage.agent.workers == {}

    play(story, main=Behaviour(stops_s=None))


def test_a_stop_before_anything_runs_is_carried_out() -> None:
    async def story(stage: Play) -> None:
        wanted = sandbox("pod", Container("main", "image"))
        stage.control.want(wanted)
        await stage.sleep(1)
        stage.control.want(wanted, "stop")
        await stage.control.gone("pod")
        assert stage.starts("pod") == []

    play(story, image=Behaviour(pull_s=100))


def test_what_is_stopped_before_it_was_known_is_gone_at_once() -> None:
    async def story(stage: Play) -> None:
        await stage.sleep(1)
        stage.control.vanish("never")
        assert (await stage.control.gone("never")).gone

    play(story)


def test_a_deadline_ends_the_pod() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("pod", Container("main", "image"), active_deadline_s=30))
        await stage.sleep(40)
        status = stage.control.status["pod"]
        assert (status.phase, status.reason) == ("failed", "DeadlineExceeded")
        assert not status.gone

    play(story)


def test_hooks_run_after_the_start_and_before_the_stop() -> None:
    async def story(stage: Play) -> None:
        hook = Probe(command=("hook",))
        first = Container("first", "image", post_start=hook, pre_stop=hook)
        wanted = sandbox("pod", first, Container("second", "image"))
        stage.control.want(wanted)
        await stage.control.until("pod", lambda status: status.phase == "running")
        assert stage.starts("pod") == ["first", "second"]
        stage.control.want(wanted, "stop")
        await stage.control.gone("pod")
        assert "FailedPreStopHook" not in stage.control.reasons("pod")

    play(story)


def test_a_failed_post_start_hook_kills_the_container() -> None:
    async def story(stage: Play) -> None:
        hook = Probe(command=("hook",))
        stage.control.want(sandbox("pod", Container("main", "image", post_start=hook)))
        status = await stage.control.until("pod", lambda status: status.phase == "succeeded")
        assert status.containers[0].state == "exited"
        assert "FailedPostStartHook" in stage.control.reasons("pod")

    play(story, main=Behaviour(command_exit_code=1))


def test_a_sandbox_without_room_is_refused_in_the_kubelets_words() -> None:
    async def story(stage: Play) -> None:
        big = Resources(cpu=3 * CPU)
        stage.control.want(sandbox("fits", Container("main", "image"), reserve=big))
        stage.control.want(sandbox("not", Container("main", "image"), reserve=big))
        status = await stage.control.until("not", lambda status: status.phase == "failed")
        assert status.reason == "OutOfcpu"
        assert status.message == (
            "Pod was rejected: Node didn't have enough resource: cpu, "
            "requested: 3000, used: 3000, capacity: 4000"
        )
        await stage.control.running("fits")
        assert stage.starts("not") == []

    play(story)


def test_room_is_free_again_once_its_holder_has_ended() -> None:
    async def story(stage: Play) -> None:
        big = Resources(cpu=3 * CPU)
        stage.control.want(sandbox("job", Container("main", "image"), reserve=big))
        await stage.control.until("job", lambda status: status.phase == "succeeded")
        stage.control.want(sandbox("next", Container("main", "image"), reserve=big))
        await stage.control.running("next")

    play(story, main=Behaviour(runs_s=5))


def test_a_taken_port_is_refused() -> None:
    async def story(stage: Play) -> None:
        ports = (Port(80),)
        stage.control.want(sandbox("one", Container("main", "image"), ports=ports))
        stage.control.want(sandbox("two", Container("main", "image"), ports=ports))
        status = await stage.control.until("two", lambda status: status.phase == "failed")
        assert status.reason == "NodePorts"

    play(story)


def test_a_blocked_container_waits_and_says_why() -> None:
    async def story(stage: Play) -> None:
        blocked = 'CreateContainerConfigError: secret "db" not found'
        stage.control.want(sandbox("pod", Container("main", "image", blocked=blocked)))
        await stage.sleep(5)
        container = stage.control.status["pod"].containers[0]
        assert container.reason == "CreateContainerConfigError"
        assert container.message == 'secret "db" not found'
        stage.control.want(sandbox("pod", Container("main", "image")))
        await stage.control.running("pod")

    play(story)


def test_a_new_image_restarts_only_its_container() -> None:
    async def story(stage: Play) -> None:
        def wanted(image: str) -> Sandbox:
            other = Container("other", "image", restart="Always")
            return sandbox("pod", Container("main", image, restart="Always"), other)

        stage.control.want(wanted("image"))
        await stage.control.running("pod")
        stage.control.want(wanted("newer"))
        status = await stage.control.until(
            "pod", lambda status: status.containers[0].attempt == 1 and status.containers[0].ready
        )
        assert status.containers[0].image == "newer"
        assert status.containers[1].attempt == 0

    play(story)


def test_a_lost_sandbox_is_made_anew_with_its_init_containers() -> None:
    async def story(stage: Play) -> None:
        init = Container("setup", "image", init=True, restart="OnFailure")
        stage.control.want(sandbox("pod", init, Container("main", "image", restart="Always")))
        await stage.control.until("pod", lambda status: status.phase == "running")
        stage.runtime.kill_sandbox("pod.0")
        await stage.sleep(15)
        assert stage.starts("pod")[-2:] == ["setup", "main"]
        (left,) = (await stage.runtime.list()).sandboxes
        assert (left.attempt, left.ready) == (1, True)
        assert stage.network.attached == {"pod": "10.0.0.9"}

    play(story, setup=Behaviour(runs_s=1))


def test_a_restart_of_the_agent_goes_on_where_it_was() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("pod", Container("main", "image", restart="Always")))
        before = await stage.control.running("pod")
        stage.runtime.kill(before.id)
        await stage.control.until("pod", lambda status: status.containers[0].attempt == 1)
        after = await stage.control.running("pod")
        await stage.stop()
        stage.control.status.clear()
        await stage.start()
        again = await stage.control.running("pod")
        assert (again.id, again.attempt) == (after.id, 1)
        assert again.last is not None and again.last.exit_code == 137

    play(story)


def test_a_task_that_has_ended_is_not_run_again_by_a_new_agent() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("task", Container("main", "image"), skin="ecs"))
        await stage.control.gone("task")
        await stage.stop()
        stage.control.status.clear()
        await stage.start()
        await stage.control.gone("task")
        assert stage.starts("task") == ["main"]

    play(story, main=Behaviour(runs_s=2))


def test_exits_during_an_outage_of_the_runtime_are_found() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("pod", Container("main", "image", restart="Always")))
        before = await stage.control.running("pod")
        stage.runtime.away = True
        stage.runtime.lose_listeners()
        stage.runtime.kill(before.id)
        await stage.sleep(10)
        stage.runtime.away = False
        await stage.control.until("pod", lambda status: status.containers[0].attempt == 1)

    play(story)


def test_news_waits_for_a_control_plane_that_is_away() -> None:
    async def story(stage: Play) -> None:
        stage.control.want(sandbox("pod", Container("main", "image")))
        await stage.sleep(0.05)
        stage.control.away = True
        stage.control.disconnect()
        await stage.sleep(30)
        stage.control.away = False
        await stage.control.running("pod")

    play(story)


def history(seed_behaviour: Behaviour) -> list[SandboxStatus]:
    found: list[SandboxStatus] = []

    async def story(stage: Play) -> None:
        for number in range(5):
            stage.control.want(sandbox(f"pod{number}", Container("main", "image")))
        await stage.sleep(60)
        found.extend(stage.control.history)

    play(story, main=seed_behaviour)
    return found


def test_the_same_seed_gives_the_same_history() -> None:
    behaviour = Behaviour(runs_s=5, exit_code=1)
    assert history(behaviour) == history(behaviour)
