"""Jobs: how many pods, when they are over, and that every end is counted once."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proa.base.chance import Chance
from proa.base.clock import iso8601, run_virtual
from proa.kube.batch_objects import Job
from proa.kube.controllers.garbage import GarbageController
from proa.kube.controllers.job import indexes
from proa.kube.controllers.job.controller import JobController
from proa.kube.controllers.job.endings import JobPodReleaseController, JobTtlController
from proa.kube.controllers.job.pods import TRACKING
from proa.kube.decoding import decoder
from tests.unit.kube.world import Json, World

Scene = Callable[[World], Awaitable[None]]


def play(scene: Scene) -> None:
    given = [
        JobController(Chance("j")),
        JobTtlController(),
        JobPodReleaseController(),
        GarbageController(),
    ]

    async def main() -> None:
        async with World(given) as world:
            world.namespace()
            await scene(world)

    run_virtual(main())


def job(name: str = "work", restart: str = "Never", **spec: Any) -> Json:
    labels = {"batch.kubernetes.io/job-name": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"restartPolicy": restart, "containers": [{"name": "main", "image": "one"}]},
    }
    if "parallelism" not in spec:
        spec.setdefault("completions", 1)
    spec = {"selector": {"matchLabels": labels}, "template": template, **spec}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def start(world: World, **spec: Any) -> None:
    world.create("batch", "jobs", job(**spec))


def pods(world: World, phase: str = "Pending") -> list[Json]:
    found = world.list("", "pods")
    return [
        pod
        for pod in found
        if pod["status"]["phase"] == phase and not pod["metadata"].get("deletionTimestamp")
    ]


def end(world: World, pod: Json, code: int = 0, **status: Any) -> None:
    at = iso8601(world.clock.now())
    ended = {"exitCode": code, "finishedAt": at}
    statuses = [{"name": "main", "restartCount": 0, "state": {"terminated": ended}}]
    phase = "Failed" if code else "Succeeded"
    world.pod_status(pod, phase=phase, containerStatuses=statuses, **status)


def status_of(world: World, name: str = "work") -> Json:
    found: Json = world.get("batch", "jobs", "default", name)["status"]
    return found


def conditions(world: World) -> list[tuple[str, str]]:
    return [(item["type"], item["reason"]) for item in status_of(world).get("conditions", ())]


def held(world: World) -> set[str]:
    """The conditions that are true."""
    found = status_of(world).get("conditions", ())
    return {item["type"] for item in found if item["status"] == "True"}


def index(pod: Json) -> int:
    return int(pod["metadata"]["annotations"][indexes.INDEX])


def test_a_job_runs_its_pods_side_by_side_until_enough_have_succeeded() -> None:
    async def scene(world: World) -> None:
        start(world, completions=5, parallelism=2)
        for left in (5, 4, 3, 2, 1):
            await world.sleep(1)
            running = pods(world)
            assert len(running) == min(2, left)
            assert status_of(world)["active"] == min(2, left)
            end(world, running[0])
        await world.sleep(1)
        status = status_of(world)
        assert (status["succeeded"], status.get("active"), status["terminating"]) == (5, None, 0)
        assert conditions(world) == [
            ("SuccessCriteriaMet", "CompletionsReached"),
            ("Complete", "CompletionsReached"),
        ]
        assert status["completionTime"] >= status["startTime"]
        assert world.events("Completed") == ["Job completed"]
        assert len(world.events("SuccessfulCreate")) == 5
        assert not any(pod["metadata"].get("finalizers") for pod in world.list("", "pods"))

    play(scene)


def test_a_job_without_completions_is_over_with_its_first_success_and_last_pod() -> None:
    async def scene(world: World) -> None:
        start(world, parallelism=3)
        await world.sleep(1)
        first, second, third = pods(world)
        end(world, first)
        await world.sleep(1)
        assert len(pods(world)) == 2 and not held(world)
        end(world, second)
        end(world, third)
        await world.sleep(1)
        assert "Complete" in held(world) and status_of(world)["succeeded"] == 3

    play(scene)


def test_failures_are_replaced_ever_later_until_the_limit() -> None:
    async def scene(world: World) -> None:
        start(world, backoffLimit=2)
        await world.sleep(1)
        for delay_s in (10, 20):
            (pod,) = pods(world)
            end(world, pod, 1)
            await world.sleep(delay_s - 1)
            assert not pods(world), "backs off"
            await world.sleep(2)
        (pod,) = pods(world)
        end(world, pod, 1)
        await world.sleep(1)
        assert conditions(world) == [
            ("FailureTarget", "BackoffLimitExceeded"),
            ("Failed", "BackoffLimitExceeded"),
        ]
        assert status_of(world)["failed"] == 3
        text = "Job has reached the specified backoff limit"
        assert world.events("BackoffLimitExceeded") == [text]

    play(scene)


def test_restarts_in_place_count_against_the_limit() -> None:
    async def scene(world: World) -> None:
        start(world, restart="OnFailure", backoffLimit=3)
        await world.sleep(1)
        (pod,) = pods(world)
        restarted = [{"name": "main", "restartCount": 3, "state": {"running": {}}}]
        world.pod_status(pod, phase="Running", containerStatuses=restarted)
        await world.sleep(1)
        assert "FailureTarget" in held(world)

    play(scene)


def test_a_job_past_its_deadline_fails_once_its_pods_have_ended() -> None:
    async def scene(world: World) -> None:
        start(world, activeDeadlineSeconds=30)
        await world.sleep(1)
        (pod,) = pods(world)
        world.patch("", "pods", "default", pod["metadata"]["name"], {"spec": {"nodeName": "n"}})
        world.pod_status(pod, phase="Running")
        await world.sleep(30)
        assert held(world) == {"FailureTarget"}, "its pod is still being stopped"
        (ending,) = world.list("", "pods")
        end(world, ending, 137)
        await world.sleep(1)
        assert held(world) == {"FailureTarget", "Failed"}
        assert conditions(world)[1] == ("Failed", "DeadlineExceeded")
        assert status_of(world)["failed"] == 1

    play(scene)


def test_a_suspended_job_has_no_pods_and_starts_anew_when_it_is_resumed() -> None:
    async def scene(world: World) -> None:
        start(world, completions=2, parallelism=2)
        await world.sleep(1)
        began = status_of(world)["startTime"]
        world.patch("batch", "jobs", "default", "work", {"spec": {"suspend": True}})
        await world.sleep(2)
        assert not world.list("", "pods")
        assert held(world) == {"Suspended"} and "startTime" not in status_of(world)
        await world.sleep(60)
        world.patch("batch", "jobs", "default", "work", {"spec": {"suspend": False}})
        await world.sleep(11)
        assert len(pods(world)) == 2 and not held(world)
        assert status_of(world)["startTime"] > began
        assert world.events("Suspended") == ["Job suspended"]
        assert world.events("Resumed") == ["Job resumed"]

    play(scene)


def test_indexed_pods_know_their_index_and_each_succeeds_once() -> None:
    async def scene(world: World) -> None:
        start(world, completions=4, parallelism=4, completionMode="Indexed", backoffLimit=6)
        await world.sleep(1)
        made = sorted(pods(world), key=index)
        assert [index(pod) for pod in made] == [0, 1, 2, 3]
        assert [pod["spec"]["hostname"] for pod in made] == [f"work-{n}" for n in range(4)]
        assert made[2]["metadata"]["name"].startswith("work-2-")
        (variable,) = made[2]["spec"]["containers"][0]["env"]
        assert variable["name"] == "JOB_COMPLETION_INDEX"
        end(world, made[0])
        end(world, made[2])
        end(world, made[3])
        end(world, made[1], 1)
        await world.sleep(1)
        assert status_of(world)["completedIndexes"] == "0,2,3"
        await world.sleep(10)
        (again,) = pods(world)
        assert index(again) == 1
        end(world, again)
        await world.sleep(1)
        status = status_of(world)
        assert (status["completedIndexes"], status["succeeded"]) == ("0-3", 4)
        assert "Complete" in held(world)

    play(scene)


def test_failures_by_index_give_up_that_index_alone() -> None:
    async def scene(world: World) -> None:
        start(world, completions=2, parallelism=2, completionMode="Indexed",
              backoffLimit=2**31 - 1, backoffLimitPerIndex=1)  # fmt: skip
        await world.sleep(1)
        first, second = sorted(pods(world), key=index)
        end(world, first, 1)
        end(world, second)
        await world.sleep(12)
        (again,) = pods(world)
        assert again["metadata"]["annotations"][indexes.FAILURES] == "1"
        end(world, again, 1)
        await world.sleep(1)
        status = status_of(world)
        assert (status["failedIndexes"], status["completedIndexes"]) == ("0", "1")
        assert ("Failed", "FailedIndexes") in conditions(world)

    play(scene)


def rule(action: str, *codes: int) -> Json:
    return {"action": action, "onExitCodes": {"operator": "In", "values": list(codes)}}


def test_the_failure_policy_fails_at_once_or_lets_pass() -> None:
    async def scene(world: World) -> None:
        disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
        start(world, backoffLimit=0, podFailurePolicy={"rules": [rule("FailJob", 42), disrupted]})
        await world.sleep(1)
        (pod,) = pods(world)
        end(world, pod, 137, conditions=[{"type": "DisruptionTarget", "status": "True"}])
        await world.sleep(12)
        (pod,) = pods(world)
        assert not held(world) and not status_of(world).get("failed")
        end(world, pod, 42)
        await world.sleep(1)
        (target, failed) = status_of(world)["conditions"]
        assert (target["type"], failed["reason"]) == ("FailureTarget", "PodFailurePolicy")
        name = pod["metadata"]["name"]
        assert failed["message"] == (
            f"Container main for pod default/{name} failed with exit code 42 "
            "matching FailJob rule at index 0"
        )

    play(scene)


@pytest.mark.parametrize(
    ("success", "ended"),
    [({"succeededIndexes": "1"}, (1,)), ({"succeededCount": 2}, (0, 2))],
)
def test_the_success_policy_ends_a_job_early(success: Json, ended: tuple[int, ...]) -> None:
    async def scene(world: World) -> None:
        start(world, completions=3, parallelism=3, completionMode="Indexed",
              successPolicy={"rules": [success]})  # fmt: skip
        await world.sleep(1)
        for pod in pods(world):
            if index(pod) in ended:
                end(world, pod)
        await world.sleep(3)
        assert conditions(world) == [
            ("SuccessCriteriaMet", "SuccessPolicy"),
            ("Complete", "SuccessPolicy"),
        ]
        assert status_of(world)["succeeded"] == len(ended)

    play(scene)


def test_a_deleted_pod_is_replaced_at_once_or_when_it_has_failed() -> None:
    def scene_of(policy: str, early: int) -> Scene:
        async def scene(world: World) -> None:
            start(world, podReplacementPolicy=policy)
            await world.sleep(1)
            (pod,) = pods(world)
            name = pod["metadata"]["name"]
            world.patch("", "pods", "default", name, {"spec": {"nodeName": "n"}})
            world.pod_status(pod, phase="Running")
            world.delete("", "pods", "default", name)
            await world.sleep(12)
            assert len(pods(world)) == early
            if not early:
                assert status_of(world)["terminating"] == 1
                end(world, pod, 137)
                world.delete("", "pods", "default", name, grace_s=0)
            await world.sleep(12)
            assert len(pods(world)) == 1 and status_of(world)["failed"] == 1

        return scene

    play(scene_of("TerminatingOrFailed", 1))
    play(scene_of("Failed", 0))


def test_a_finished_job_goes_after_its_time_to_live_with_its_pods() -> None:
    async def scene(world: World) -> None:
        start(world, ttlSecondsAfterFinished=60)
        await world.sleep(1)
        (pod,) = pods(world)
        end(world, pod)
        await world.sleep(55)
        assert world.list("batch", "jobs")
        await world.sleep(10)
        assert not world.list("batch", "jobs") and not world.list("", "pods")

    play(scene)


def test_pods_of_a_job_that_has_gone_are_set_free() -> None:
    async def scene(world: World) -> None:
        start(world)
        await world.sleep(1)
        (pod,) = pods(world)
        assert pod["metadata"]["finalizers"] == [TRACKING]
        world.delete("batch", "jobs", "default", "work", propagation="Background")
        await world.sleep(5)
        assert not world.list("", "pods")

    play(scene)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((), ""), ((3,), "3"), ((1, 2), "1,2"), ((0, 1, 2, 5, 7, 8, 9), "0-2,5,7-9")],
)
def test_indexes_are_written_as_ranges(numbers: tuple[int, ...], text: str) -> None:
    assert indexes.text_of(numbers) == text
    assert indexes.parse(text, 100) == set(numbers)


def test_indexes_beyond_the_limit_and_nonsense_are_left_out() -> None:
    assert indexes.parse("1-99999999999,x,-3", 4) == {1, 2, 3}


def test_a_job_is_decoded_with_the_apis_defaults() -> None:
    made = decoder(Job)(json.dumps({"spec": {}, "status": {}}).encode())
    assert (made.spec.backoff_limit, made.spec.parallelism, made.indexed) == (6, 1, False)
