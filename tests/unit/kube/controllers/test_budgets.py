"""PodDisruptionBudgets: what the controller says may go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proa.base.chance import Chance
from proa.base.clock import iso8601, run_virtual
from proa.kube.controllers.deployment.controller import DeploymentController
from proa.kube.controllers.disruption import DisruptionController
from proa.kube.controllers.replica_set import ReplicaSetController
from tests.unit.kube.world import Json, World, deployment


def play(scene: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        given = [DeploymentController(), ReplicaSetController(Chance("r")), DisruptionController()]
        async with World(given) as world:
            world.namespace()
            await scene(world)

    run_virtual(main())


def budget(world: World, **spec: object) -> None:
    selector = world.list("apps", "deployments", "default")[0]["spec"]["selector"]
    body = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "default", "generation": 1},
        "spec": {"selector": selector, **spec},
    }
    world.create("policy", "poddisruptionbudgets", body)


def status_of(world: World) -> Json:
    found: Json = world.get("policy", "poddisruptionbudgets", "default", "web").get("status", {})
    return found


def test_a_budget_allows_what_is_above_the_healthy_pods_that_must_stay() -> None:
    async def scene(world: World) -> None:
        world.create("apps", "deployments", deployment(replicas=4))
        world.spawn(world.kubelet())
        budget(world, minAvailable=3)
        await world.sleep(10)
        status = status_of(world)
        assert (status["expectedPods"], status["currentHealthy"]) == (4, 4)
        assert (status["desiredHealthy"], status["disruptionsAllowed"]) == (3, 1)
        assert status["observedGeneration"] == 1
        assert status["conditions"][0]["reason"] == "SufficientPods"
        world.make_ready(world.list("", "pods", "default")[0], False)
        await world.sleep(2)
        status = status_of(world)
        assert (status["currentHealthy"], status["disruptionsAllowed"]) == (3, 0)
        assert status["conditions"][0]["reason"] == "InsufficientPods"

    play(scene)


def test_shares_are_of_what_the_deployment_is_asked_for() -> None:
    async def scene(world: World) -> None:
        world.create("apps", "deployments", deployment(replicas=5))
        world.spawn(world.kubelet())
        budget(world, maxUnavailable="30%")
        await world.sleep(10)
        status = status_of(world)
        assert (status["expectedPods"], status["desiredHealthy"]) == (5, 3)
        assert status["disruptionsAllowed"] == 2

    play(scene)


def test_a_note_of_an_eviction_that_never_came_ends_after_two_minutes() -> None:
    async def scene(world: World) -> None:
        world.create("apps", "deployments", deployment(replicas=3))
        world.spawn(world.kubelet())
        budget(world, minAvailable=1)
        await world.sleep(10)
        name = world.list("", "pods", "default")[0]["metadata"]["name"]
        noted = {"status": {"disruptedPods": {name: iso8601(world.clock.now())}}}
        world.patch("policy", "poddisruptionbudgets", "default", "web", noted, "status")
        await world.sleep(60)
        assert status_of(world)["disruptionsAllowed"] == 1
        await world.sleep(70)
        assert status_of(world)["disruptionsAllowed"] == 2
        assert not status_of(world).get("disruptedPods")

    play(scene)
