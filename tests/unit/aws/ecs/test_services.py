"""Services: they keep their count, roll within their percentages, drain, and say what they do."""

from __future__ import annotations

from typing import Any

import pytest

from proa.aws.gateway.service import AwsError
from proa.base.quantity import CPU_PER_ECS_UNIT, MIB
from proa.model.resources import Resources
from tests.unit.aws.ecs.world import Behaviour, World, run_world

BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


def messages(service: dict[str, Any]) -> list[str]:
    return [event["message"] for event in service["events"]]


def test_a_service_starts_its_tasks_and_reaches_a_steady_state() -> None:
    async def story(world: World) -> None:
        await world.define()
        service = await world.create(count=3)
        assert service["status"] == "ACTIVE" and service["runningCount"] == 0
        deployment = service["deployments"][0]
        assert deployment["status"] == "PRIMARY" and deployment["rolloutState"] == "IN_PROGRESS"
        service = await world.until_steady()
        assert (service["runningCount"], service["pendingCount"]) == (3, 0)
        said = messages(service)
        assert said[0] == "(service web) has reached a steady state."
        assert said[1] == f"(service web) (deployment {deployment['id']}) deployment completed."
        assert said[2].startswith("(service web) has started 3 tasks: (task ")
        task = world.records()[0]
        assert task.started_by == deployment["id"] and task.group == "service:web"
        assert len({record.zone for record in world.records()}) == 3

    run_world(story)


def test_a_service_replaces_a_task_that_dies() -> None:
    async def story(world: World) -> None:
        await world.serve(2)
        victim = world.records()[0]
        world.agent.killed.add(victim.id)
        await world.until_status(victim.arn, "STOPPED")
        service = await world.until_steady()
        alive = {record.id for record in world.records() if record.last_status == "RUNNING"}
        assert len(alive) == 2 and victim.id not in alive
        assert service["deployments"][0]["failedTasks"] == 0

    run_world(story)


def test_scaling_starts_and_stops_tasks_without_a_new_deployment() -> None:
    async def story(world: World) -> None:
        await world.define()
        first = (await world.create(count=2))["deployments"][0]["id"]
        await world.until_steady()
        await world.call("UpdateService", service="web", desiredCount=5)
        await world.until_steady()
        await world.call("UpdateService", service="web", desiredCount=1)
        service = await world.until_steady()
        assert service["deployments"][0]["id"] == first
        stopped = [item for item in world.records() if item.desired_status == "STOPPED"]
        assert len(stopped) == 4
        assert stopped[0].stopped_reason == f"Scaling activity initiated by (deployment {first})"
        assert stopped[0].stop_code == "ServiceSchedulerInitiated"

    run_world(story)


def test_a_new_task_definition_rolls_out_and_leaves_one_deployment() -> None:
    async def story(world: World) -> None:
        await world.serve(3)
        await world.define(image="web:2")
        answer = await world.call("UpdateService", service="web", taskDefinition="web")
        assert [item["status"] for item in answer["service"]["deployments"]] == [
            "PRIMARY",
            "ACTIVE",
        ]
        service = await world.until_steady()
        assert service["taskDefinition"].endswith("web:2")
        running = [item for item in world.records() if item.last_status == "RUNNING"]
        assert {item.revision for item in running} == {2} and len(running) == 3

    run_world(story)


def test_the_same_task_definition_starts_no_deployment_unless_forced() -> None:
    async def story(world: World) -> None:
        await world.define()
        first = (await world.create(count=1))["deployments"][0]["id"]
        await world.until_steady()
        same = await world.call("UpdateService", service="web", taskDefinition="web:1")
        assert [item["id"] for item in same["service"]["deployments"]] == [first]
        forced = await world.call("UpdateService", service="web", forceNewDeployment=True)
        assert len(forced["service"]["deployments"]) == 2
        service = await world.until_steady()
        assert service["deployments"][0]["id"] != first

    run_world(story)


def test_the_circuit_breaker_rolls_back_to_the_last_completed_deployment() -> None:
    async def story(world: World) -> None:
        await world.define()
        good = (await world.create(count=2, deploymentConfiguration=BREAKER))["deployments"][0]
        await world.until_steady()
        world.agent.behaviours["broken"] = Behaviour(exits_after=0.5, exit_code=1)
        await world.define(image="broken")
        answer = await world.call("UpdateService", service="web", taskDefinition="web:2")
        bad = answer["service"]["deployments"][0]["id"]

        async def rolled_back() -> bool:
            return bool((await world.described())["deployments"][0]["id"] == good["id"])

        await world.until(rolled_back)
        service = await world.until_steady()
        said = messages(service)
        assert f"(service web) (deployment {bad}) deployment failed: tasks failed to start." in said
        assert f"(service web) rolling back to deployment {good['id']}." in said
        assert service["taskDefinition"].endswith("web:1")
        survivors = [item for item in world.records() if item.last_status == "RUNNING"]
        assert {item.deployment for item in survivors} == {good["id"]}
        assert all(item.desired_status == "RUNNING" for item in survivors)

    run_world(story)


def test_the_circuit_breaker_without_rollback_stops_launching() -> None:
    async def story(world: World) -> None:
        world.agent.behaviours["web"] = Behaviour(pull_error="denied")
        await world.define()
        breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
        await world.create(count=1, deploymentConfiguration=breaker)

        async def failed() -> bool:
            return bool((await world.described())["deployments"][0]["rolloutState"] == "FAILED")

        await world.until(failed)
        count = len(world.records())
        assert count == 3
        await world.clock.sleep(120)
        assert len(world.records()) == count
        deployment = (await world.described())["deployments"][0]
        assert deployment["failedTasks"] == 3
        assert deployment["rolloutStateReason"] == (
            "ECS deployment circuit breaker: tasks failed to start."
        )

    run_world(story)


def test_a_service_whose_tasks_never_start_is_throttled() -> None:
    async def story(world: World) -> None:
        world.agent.behaviours["web"] = Behaviour(pull_error="denied")
        await world.define()
        await world.create(count=1)
        await world.clock.sleep(600)
        assert 5 <= len(world.records()) <= 12
        said = messages(await world.described())
        assert sum("unable to consistently start tasks" in text for text in said) == 1

    run_world(story)


def test_an_unhealthy_task_is_replaced_and_says_why_it_was_stopped() -> None:
    async def story(world: World) -> None:
        check = {"healthCheck": {"command": ["CMD-SHELL", "true"]}}
        await world.define(container=check)
        world.agent.behaviours["web"] = Behaviour(healthy=True)
        await world.create(count=2)
        await world.until_steady()
        first = {item.id for item in world.records()}
        world.agent.behaviours["web"].healthy = False
        await world.clock.sleep(3)
        world.agent.behaviours["web"].healthy = True
        await world.clock.sleep(30)
        stopped = [item for item in world.records() if item.last_status == "STOPPED"]
        if stopped:
            assert {item.stopped_reason for item in stopped} == {
                "Task failed container health checks"
            }
        service = await world.until_steady()
        assert service["runningCount"] == 2
        assert {item.id for item in world.records()} != first

    run_world(story)


def test_a_deployment_that_the_percentages_forbid_says_so() -> None:
    async def story(world: World) -> None:
        await world.define()
        limits = {"minimumHealthyPercent": 50, "maximumPercent": 100}
        await world.create(count=1, deploymentConfiguration=limits)
        await world.until_steady()
        await world.call("UpdateService", service="web", forceNewDeployment=True)
        await world.clock.sleep(120)
        service = await world.described()
        assert len(service["deployments"]) == 2
        assert sum("was unable to stop or start tasks" in text for text in messages(service)) == 1

    run_world(story)


def test_a_service_without_room_waits_says_so_and_starts_when_there_is_room() -> None:
    async def story(world: World) -> None:
        await world.define_ec2(container={"memory": 300})
        blocker = (await world.call("RunTask", taskDefinition="local"))["tasks"][0]["taskArn"]
        await world.call("CreateService", serviceName="web", taskDefinition="local", desiredCount=1)
        await world.clock.sleep(5)
        service = await world.described()
        assert service["pendingCount"] == 1
        assert any(
            "no container instance met all of its requirements. The closest matching " in text
            and "has insufficient memory available. For more information" in text
            for text in messages(service)
        )
        await world.call("StopTask", task=blocker)
        await world.until_steady()

    run_world(story, pool=Resources(4096 * CPU_PER_ECS_UNIT, 512 * MIB, 0, 10))


def test_a_deleted_service_drains_and_becomes_inactive() -> None:
    async def story(world: World) -> None:
        await world.serve(2)
        with pytest.raises(AwsError) as caught:
            await world.call("DeleteService", service="web")
        assert "cannot be stopped while it is scaled above 0" in caught.value.message
        answer = await world.call("DeleteService", service="web", force=True)
        assert answer["service"]["status"] == "DRAINING"
        assert (await world.call("ListServices"))["serviceArns"] == []

        async def inactive() -> bool:
            return bool((await world.described())["status"] == "INACTIVE")

        await world.until(inactive)
        with pytest.raises(AwsError) as caught:
            await world.call("UpdateService", service="web", desiredCount=1)
        assert caught.value.code == "ServiceNotActiveException"
        again = await world.create(count=1)
        assert again["status"] == "ACTIVE"
        service = await world.until_steady()
        assert len(service["events"]) == 3

    run_world(story)


def test_an_inactive_service_is_forgotten_after_an_hour() -> None:
    async def story(world: World) -> None:
        await world.serve(0)
        await world.call("DeleteService", service="web")
        await world.clock.sleep(3700)
        answer = await world.call("DescribeServices", services=["web"])
        assert [item["reason"] for item in answer["failures"]] == ["MISSING"]

    run_world(story)


def test_creating_a_service_twice_alike_is_idempotent_and_otherwise_refused() -> None:
    async def story(world: World) -> None:
        await world.define()
        first = await world.create(count=1)
        again = await world.create(count=1)
        assert again["deployments"][0]["id"] == first["deployments"][0]["id"]
        with pytest.raises(AwsError) as caught:
            await world.create(count=2)
        assert caught.value.message == "Creation of service was not idempotent."

    run_world(story)


def test_events_keep_the_newest_hundred() -> None:
    async def story(world: World) -> None:
        await world.define()
        await world.create(count=0)
        for round in range(52):
            await world.call("UpdateService", service="web", desiredCount=1 - round % 2)
            await world.clock.sleep(15)
        events = (await world.described())["events"]
        assert len(events) == 100
        times = [event["createdAt"] for event in events]
        assert times == sorted(times, reverse=True)

    run_world(story)


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"loadBalancers": [{"containerName": "web"}]}, "UnsupportedFeatureException", "load"),
        ({"schedulingStrategy": "DAEMON"}, "UnsupportedFeatureException", "DAEMON"),
        (
            {"deploymentConfiguration": {"maximumPercent": 100, "minimumHealthyPercent": 100}},
            "InvalidParameterException",
            "this will block deployments",
        ),
        ({"deploymentController": {"type": "EXTERNAL"}}, "UnsupportedFeatureException", "EXT"),
        ({"serviceName": "a b"}, "InvalidParameterException", "Service name"),
        ({"taskDefinition": "web:9"}, "ClientException", "TaskDefinition not found."),
        ({"networkConfiguration": {}}, "InvalidParameterException", "must be provided"),
    ],
)
def test_create_service_refuses(change: dict[str, Any], code: str, text: str) -> None:
    async def story(world: World) -> None:
        await world.define()
        with pytest.raises(AwsError) as caught:
            await world.create(**change)
        assert caught.value.code == code
        assert text in caught.value.message

    run_world(story)


def test_a_steady_service_says_so_again_every_six_hours() -> None:
    async def story(world: World) -> None:
        await world.serve(1)
        world.agent.period_s = 600.0
        await world.clock.sleep(13 * 3600)
        said = [text for text in messages(await world.described()) if "steady state" in text]
        assert len(said) == 3

    run_world(story)
