"""Deployments with their ReplicaSets: rollouts, scaling, pausing, history, reports."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.base.chance import Chance
from proa.base.clock import run_virtual
from proa.kube.api.call import ApiError
from proa.kube.controllers.deployment.controller import DeploymentController
from proa.kube.controllers.deployment.revisions import HASH_LABEL, HISTORY, REVISION
from proa.kube.controllers.deployment.sizes import Sets, fenceposts, max_unavailable, rescaled
from proa.kube.controllers.replica_set import ReplicaSetController
from proa.kube.decoding import decoder
from proa.kube.objects import Deployment, ReplicaSet
from proa.reconcile.view import Entry
from tests.unit.kube.world import Json, World, deployment, image_of


class FewNames(Chance):
    """Draws the same few suffixes again and again."""

    def suffix(self, length: int = 5) -> str:
        return super().suffix(1) * length


def play(
    scene: Callable[[World], Awaitable[None]],
    seed: str = "scene",
    chance: type[Chance] = Chance,
) -> None:
    async def main() -> None:
        controllers = [DeploymentController(), ReplicaSetController(chance(seed))]
        async with World(controllers, seed) as world:
            world.namespace()
            await scene(world)

    run_virtual(main())


def the(world: World, name: str = "web") -> Json:
    return world.get("apps", "deployments", "default", name)


def sets(world: World) -> dict[str, Json]:
    """ReplicaSets by revision."""
    found = world.list("apps", "replicasets")
    return {item["metadata"]["annotations"][REVISION]: item for item in found}


def condition(item: Json, type: str) -> Json:
    return next(c for c in item["status"]["conditions"] if c["type"] == type)


def test_deployment_creates_its_pods_through_a_replica_set() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet())
        world.create("apps", "deployments", deployment())
        await world.sleep(5)
        item = the(world)
        assert item["metadata"]["annotations"][REVISION] == "1"
        status = item["status"]
        assert (status["replicas"], status["readyReplicas"], status["availableReplicas"]) == (
            3,
            3,
            3,
        )
        assert status["updatedReplicas"] == 3
        assert "unavailableReplicas" not in status
        assert status["observedGeneration"] == item["metadata"]["generation"]
        assert condition(item, "Available")["reason"] == "MinimumReplicasAvailable"
        progressing = condition(item, "Progressing")
        (replica_set,) = world.list("apps", "replicasets")
        name = replica_set["metadata"]["name"]
        assert progressing["reason"] == "NewReplicaSetAvailable"
        assert progressing["message"] == f'ReplicaSet "{name}" has successfully progressed.'
        digest = replica_set["metadata"]["labels"][HASH_LABEL]
        assert name == f"web-{digest}"
        assert replica_set["spec"]["selector"]["matchLabels"] == {"app": "web", HASH_LABEL: digest}
        pods = world.list("", "pods")
        assert all(pod["metadata"]["generateName"] == f"{name}-" for pod in pods)
        assert all(pod["metadata"]["name"].startswith(f"{name}-") for pod in pods)
        assert pods[0]["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] is True
        assert world.events("ScalingReplicaSet") == [f"Scaled up replica set {name} from 0 to 3"]
        assert len(world.events("SuccessfulCreate")) == 3

    play(scene)


def test_new_template_rolls_out_and_keeps_the_old_set_for_undo() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet())
        world.create("apps", "deployments", deployment())
        await world.sleep(5)
        world.patch("apps", "deployments", "default", "web", image_of("two"))
        await world.sleep(20)
        by_revision = sets(world)
        assert by_revision["1"]["spec"]["replicas"] == 0
        assert by_revision["2"]["spec"]["replicas"] == 3
        assert len(world.list("", "pods")) == 3
        assert the(world)["metadata"]["annotations"][REVISION] == "2"

    play(scene)


def test_undo_to_an_old_template_gives_its_set_a_new_revision() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet())
        world.create("apps", "deployments", deployment())
        await world.sleep(5)
        world.patch("apps", "deployments", "default", "web", image_of("two"))
        await world.sleep(20)
        first = sets(world)["1"]["metadata"]["name"]
        world.patch("apps", "deployments", "default", "web", image_of("one"))
        await world.sleep(20)
        again = sets(world)["3"]
        assert again["metadata"]["name"] == first
        assert again["metadata"]["annotations"][HISTORY] == "1"
        assert again["spec"]["replicas"] == 3
        assert len(world.list("apps", "replicasets")) == 2

    play(scene)


def test_recreate_starts_new_pods_only_after_the_last_old_one_has_gone() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet(stop_s=10))
        body = deployment(strategy={"type": "Recreate"})
        world.create("apps", "deployments", body)
        await world.sleep(5)
        world.patch("apps", "deployments", "default", "web", image_of("two"))
        await world.sleep(8)
        images = {pod["spec"]["containers"][0]["image"] for pod in world.list("", "pods")}
        assert images == {"one"}
        await world.sleep(10)
        images = {pod["spec"]["containers"][0]["image"] for pod in world.list("", "pods")}
        assert images == {"two"}
        assert condition(the(world), "Progressing")["reason"] == "NewReplicaSetAvailable"

    play(scene)


def test_paused_deployment_scales_but_does_not_roll() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet())
        world.create("apps", "deployments", deployment())
        await world.sleep(5)
        world.patch("apps", "deployments", "default", "web", {"spec": {"paused": True}})
        world.patch("apps", "deployments", "default", "web", image_of("two"))
        world.patch("apps", "deployments", "default", "web", {"spec": {"replicas": 5}})
        await world.sleep(5)
        assert len(world.list("apps", "replicasets")) == 1
        assert len(world.list("", "pods")) == 5
        assert condition(the(world), "Progressing")["reason"] == "DeploymentPaused"
        world.patch("apps", "deployments", "default", "web", {"spec": {"paused": False}})
        await world.sleep(20)
        assert sets(world)["2"]["spec"]["replicas"] == 5
        assert condition(the(world), "Progressing")["reason"] == "NewReplicaSetAvailable"

    play(scene)


def test_rollout_without_progress_times_out_and_keeps_what_is_available() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet())
        world.create("apps", "deployments", deployment(progressDeadlineSeconds=30))
        await world.sleep(5)
        for task in world._tasks[1:]:
            task.cancel()  # no node starts anything any more
        world.patch("apps", "deployments", "default", "web", image_of("two"))
        await world.sleep(40)
        progressing = condition(the(world), "Progressing")
        assert (progressing["status"], progressing["reason"]) == (
            "False",
            "ProgressDeadlineExceeded",
        )
        assert the(world)["status"]["availableReplicas"] == 3
        assert condition(the(world), "Available")["status"] == "True"

    play(scene)


def test_history_beyond_its_limit_is_deleted_lowest_revision_first() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet())
        world.create("apps", "deployments", deployment(revisionHistoryLimit=1))
        for image in ("two", "three", "four"):
            await world.sleep(15)
            world.patch("apps", "deployments", "default", "web", image_of(image))
        await world.sleep(15)
        assert sorted(sets(world)) == ["3", "4"]

    play(scene)


def test_pods_have_names_that_nobody_has_even_when_one_is_drawn_twice() -> None:
    async def scene(world: World) -> None:
        world.create(
            "apps",
            "deployments",
            {**deployment(), "spec": {**deployment()["spec"], "replicas": 12}},
        )
        await world.sleep(0.5)
        assert len(world.list("", "pods")) == 12
        made = [c.name for c in world.api.calls if c.resource == "pods" and c.verb == "create"]
        assert len(made) == len(set(made)) == 12
        world.patch("apps", "deployments", "default", "web", {"spec": {"replicas": 20}})
        await world.sleep(0.5)
        made = [c.name for c in world.api.calls if c.resource == "pods" and c.verb == "create"]
        assert len(made) == len(set(made)) == 20

    play(scene, chance=FewNames)


def test_refused_pods_show_as_replica_failure_until_they_can_be_made() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet())

        def quota(call: Any) -> ApiError | None:
            if call.resource == "pods" and call.verb == "create":
                return ApiError(403, "Forbidden", "exceeded quota: small")
            return None

        world.api.refuse = quota
        world.create("apps", "deployments", deployment())
        await world.sleep(5)
        (replica_set,) = world.list("apps", "replicasets")
        failure = condition(replica_set, "ReplicaFailure")
        assert (failure["reason"], failure["message"]) == ("FailedCreate", "exceeded quota: small")
        assert condition(the(world), "ReplicaFailure")["status"] == "True"
        assert "Error creating: exceeded quota: small" in world.events("FailedCreate")
        tries = [c for c in world.api.calls if c.resource == "pods" and c.verb == "create"]
        assert len(tries) < 20
        world.api.refuse = lambda _call: None
        await world.sleep(90)
        assert the(world)["status"]["readyReplicas"] == 3
        assert "ReplicaFailure" not in [c["type"] for c in the(world)["status"]["conditions"]]

    play(scene)


def test_name_taken_by_a_foreign_set_is_counted_as_collision() -> None:
    async def scene(world: World) -> None:
        world.spawn(world.kubelet())
        world.create("apps", "deployments", deployment())
        await world.sleep(5)
        (mine,) = world.list("apps", "replicasets")
        world.create("apps", "deployments", deployment("other"))
        await world.sleep(5)
        other = next(
            item
            for item in world.list("apps", "replicasets")
            if item["metadata"]["name"].startswith("other-")
        )
        assert mine["metadata"]["labels"][HASH_LABEL] != other["metadata"]["labels"][HASH_LABEL]
        body = {**mine, "metadata": {"namespace": "default", "labels": {"app": "thief"}}}
        world.delete("apps", "deployments", "default", "web")
        world.delete("apps", "replicasets", "default", mine["metadata"]["name"])
        body["metadata"]["name"] = mine["metadata"]["name"]
        body["spec"] = {**mine["spec"], "replicas": 0, "selector": {"matchLabels": {"app": "x"}}}
        world.create("apps", "replicasets", body)
        await world.sleep(1)
        world.create("apps", "deployments", deployment())
        await world.sleep(5)
        assert the(world)["status"]["collisionCount"] == 1
        assert the(world)["status"]["updatedReplicas"] == 3

    play(scene)


def entry(kind: type, body: Json, created: int = 1) -> Entry[Any]:
    data = json.dumps(body).encode()
    return Entry(f"/kube/c1/x/{body['metadata']['name']}", data, 1, created, decoder(kind)(data))


def replica_set(name: str, replicas: int, maximum: int) -> Entry[ReplicaSet]:
    annotations = {"deployment.kubernetes.io/max-replicas": str(maximum)}
    body = {"metadata": {"name": name, "annotations": annotations}, "spec": {"replicas": replicas}}
    return entry(ReplicaSet, body)


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (4, 0, "10%", (0, 1)),  # both zero would never move
        (3, 2, 1, (2, 1)),
    ],
)
def test_fenceposts_round_surge_up_and_unavailable_down(
    replicas: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    body = deployment(replicas=replicas, strategy={"rollingUpdate": rolling})
    assert fenceposts(entry(Deployment, body).value) == expected


def test_scaling_during_a_rollout_is_shared_in_proportion() -> None:
    """10 → 15 with maxSurge 3 and 8 + 5 pods: the documentation's example gives 3 of the 5 new
    ones to the larger and 2 to the smaller ReplicaSet (11 and 7)."""
    body = deployment(replicas=15, strategy={"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}})
    pair = Sets(replica_set("new", 5, 13), [replica_set("old", 8, 13)])
    sizes = {
        item.value.metadata.name: size
        for item, size in rescaled(entry(Deployment, body).value, pair)
    }
    assert sizes == {"old": 11, "new": 7}


rollouts = st.tuples(
    st.integers(1, 7),
    st.one_of(st.integers(0, 4), st.sampled_from(["0%", "25%", "50%", "100%"])),
    st.one_of(st.integers(0, 4), st.sampled_from(["0%", "25%", "50%", "100%"])),
    st.floats(0.05, 3.0),
    st.floats(0.05, 3.0),
    st.integers(0, 1000),
)


@settings(max_examples=40, deadline=None)
@given(rollouts)
def test_rolling_update_never_exceeds_surge_nor_falls_below_minimum(
    case: tuple[int, int | str, int | str, float, float, int],
) -> None:
    replicas, surge, unavailable, start_s, stop_s, seed = case
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}

    async def scene(world: World) -> None:
        world.spawn(world.kubelet(start_s, stop_s))
        body = deployment(replicas=replicas, strategy={"rollingUpdate": rolling})
        world.create("apps", "deployments", body)
        await world.sleep(20)
        wanted = entry(Deployment, the(world)).value
        most = replicas + fenceposts(wanted)[0]
        least = replicas - max_unavailable(wanted)
        world.patch("apps", "deployments", "default", "web", image_of("two"))
        for _ in range(1200):
            await world.sleep(0.05)
            pods = [p for p in world.list("", "pods") if "deletionTimestamp" not in p["metadata"]]
            ready = [p for p in pods if p["status"]["phase"] == "Running"]
            assert len(pods) <= most
            assert len(ready) >= least
            if the(world)["status"].get("updatedReplicas") == replicas == len(ready) == len(pods):
                break
        images = {pod["spec"]["containers"][0]["image"] for pod in pods}
        assert images == {"two"}

    play(scene, f"rollout {seed}")
