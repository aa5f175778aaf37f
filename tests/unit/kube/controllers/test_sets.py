"""StatefulSets and DaemonSets: order, identity, updates, nodes; and their revisions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proa.base.chance import Chance
from proa.base.clock import run_virtual
from proa.kube.controllers.daemon_set.controller import DaemonSetController
from proa.kube.controllers.daemon_set.nodes import Fit, fits, spec_of
from proa.kube.controllers.garbage import GarbageController
from proa.kube.controllers.revisions import HASH_LABEL
from proa.kube.controllers.stateful_set.controller import StatefulSetController
from proa.kube.objects import Meta as NodeMeta
from proa.kube.objects import Node, NodeSpec, PodTemplate, Taint
from tests.unit.kube.world import Json, World, image_of

Scene = Callable[[World], Awaitable[None]]


def play(scene: Scene) -> None:
    given = [StatefulSetController(), DaemonSetController(Chance("d")), GarbageController()]

    async def main() -> None:
        async with World(given) as world:
            world.namespace()
            await scene(world)

    run_virtual(main())


def set_body(kind: str, name: str, **spec: Any) -> Json:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "one"}]},
    }
    selector = {"matchLabels": {"app": name}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": selector, "template": template, **spec},
    }


def stateful(world: World, **spec: Any) -> None:
    body = set_body("StatefulSet", "db", **{"replicas": 3, "serviceName": "db", **spec})
    world.create("apps", "statefulsets", body)


def daemon(world: World, **spec: Any) -> None:
    world.create("apps", "daemonsets", set_body("DaemonSet", "agent", **spec))


def node(world: World, name: str, taints: Any = (), **labels: str) -> None:
    meta = {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}}
    body = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": {"taints": list(taints)}}
    world.create("", "nodes", body)


def pods(world: World) -> list[Json]:
    return world.list("", "pods")


def names(world: World) -> list[str]:
    return [item["metadata"]["name"] for item in pods(world)]


def status(world: World, kind: str = "statefulsets", name: str = "db") -> Json:
    found: Json = world.get("apps", kind, "default", name)["status"]
    return found


def image(pod: Json) -> str:
    found: str = pod["spec"]["containers"][0]["image"]
    return found


async def all_ready(world: World, count: int) -> None:
    """Make pods ready as they come until there are so many."""
    for _ in range(4 * count + 4):
        for pod in pods(world):
            if not pod["status"].get("conditions") and not pod["metadata"].get("deletionTimestamp"):
                world.make_ready(pod)
        await world.sleep(1)


def test_pods_come_one_after_another_with_names_that_last() -> None:
    async def scene(world: World) -> None:
        stateful(world)
        await world.sleep(2)
        assert names(world) == ["db-0"], "the first is not ready"
        world.make_ready(pods(world)[0])
        await world.sleep(1)
        assert names(world) == ["db-0", "db-1"]
        await all_ready(world, 3)
        assert names(world) == ["db-0", "db-1", "db-2"]
        pod = pods(world)[1]
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
        labels = pod["metadata"]["labels"]
        assert labels["statefulset.kubernetes.io/pod-name"] == "db-1"
        assert labels["apps.kubernetes.io/pod-index"] == "1"
        found = status(world)
        assert (found["readyReplicas"], found["updatedReplicas"]) == (3, 3)
        assert found["currentRevision"] == found["updateRevision"] == f"db-{labels[HASH_LABEL]}"
        assert "create Pod db-0 in StatefulSet db successful" in world.events("SuccessfulCreate")
        world.delete("", "pods", "default", "db-1", grace_s=0)
        await world.sleep(1)
        assert names(world) == ["db-0", "db-1", "db-2"]

    play(scene)


def test_parallel_pods_come_at_once_and_all_go_at_once() -> None:
    async def scene(world: World) -> None:
        stateful(world, podManagementPolicy="Parallel", ordinals={"start": 5})
        await world.sleep(1)
        assert names(world) == ["db-5", "db-6", "db-7"]
        world.patch("apps", "statefulsets", "default", "db", {"spec": {"replicas": 1}})
        await world.sleep(1)
        assert names(world) == ["db-5"]

    play(scene)


def test_scaling_down_takes_the_highest_first_and_waits_for_it() -> None:
    async def scene(world: World) -> None:
        stateful(world)
        await all_ready(world, 3)
        for name in names(world):
            world.patch("", "pods", "default", name, {"spec": {"nodeName": "n"}})
        world.patch("apps", "statefulsets", "default", "db", {"spec": {"replicas": 1}})
        await world.sleep(2)
        going = [item["metadata"]["name"] for item in pods(world)
                 if item["metadata"].get("deletionTimestamp")]  # fmt: skip
        assert going == ["db-2"]
        world.delete("", "pods", "default", "db-2", grace_s=0)
        await world.sleep(1)
        world.delete("", "pods", "default", "db-1", grace_s=0)
        await world.sleep(1)
        assert names(world) == ["db-0"]

    play(scene)


def test_an_update_goes_from_the_highest_down_to_the_partition() -> None:
    async def scene(world: World) -> None:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
        stateful(world, updateStrategy=rolling)
        await all_ready(world, 3)
        before = status(world)["currentRevision"]
        world.patch("apps", "statefulsets", "default", "db", image_of("two"))
        await world.sleep(2)
        assert [image(pod) for pod in pods(world)] == ["one", "one", "two"]
        await all_ready(world, 3)
        assert [image(pod) for pod in pods(world)] == ["one", "two", "two"]
        found = status(world)
        assert (found["currentRevision"], found["updatedReplicas"]) == (before, 2)
        world.delete("", "pods", "default", "db-0", grace_s=0)
        await all_ready(world, 3)
        assert image(pods(world)[0]) == "one", "below the partition it stays what it was"
        whole = {"updateStrategy": {"rollingUpdate": {"partition": 0}}}
        world.patch("apps", "statefulsets", "default", "db", {"spec": whole})
        await all_ready(world, 3)
        assert [image(pod) for pod in pods(world)] == ["two"] * 3
        assert status(world)["currentRevision"] == status(world)["updateRevision"] != before

    play(scene)


def test_on_delete_updates_only_what_users_delete() -> None:
    async def scene(world: World) -> None:
        stateful(world, updateStrategy={"type": "OnDelete"})
        await all_ready(world, 3)
        world.patch("apps", "statefulsets", "default", "db", image_of("two"))
        await world.sleep(3)
        assert [image(pod) for pod in pods(world)] == ["one"] * 3
        world.delete("", "pods", "default", "db-1", grace_s=0)
        await world.sleep(1)
        assert [image(pod) for pod in pods(world)] == ["one", "two", "one"]

    play(scene)


def test_each_pod_claims_its_storage_and_keeps_the_claim() -> None:
    async def scene(world: World) -> None:
        claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
        stateful(world, replicas=1, volumeClaimTemplates=[claim])
        await world.sleep(1)
        (made,) = world.list("", "persistentvolumeclaims")
        assert made["metadata"]["name"] == "data-db-0"
        volumes = pods(world)[0]["spec"]["volumes"]
        assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}} in volumes
        world.patch("apps", "statefulsets", "default", "db", {"spec": {"replicas": 0}})
        await world.sleep(1)
        assert not pods(world) and world.list("", "persistentvolumeclaims")

    play(scene)


def test_a_template_that_comes_back_gets_its_revision_under_a_new_number() -> None:
    async def scene(world: World) -> None:
        stateful(world, replicas=1, revisionHistoryLimit=1)
        for name in ("two", "one", "three", "four"):
            await all_ready(world, 1)
            world.patch("apps", "statefulsets", "default", "db", image_of(name))
        await all_ready(world, 1)
        found = world.list("apps", "controllerrevisions")
        numbers = sorted(item["revision"] for item in found)
        assert numbers == [4, 5], "one of history, and the present one"

    play(scene)


def test_every_node_that_fits_has_a_daemon_of_its_own() -> None:
    async def scene(world: World) -> None:
        node(world, "a", disk="ssd")
        node(world, "b", disk="hdd")
        node(world, "c", [{"key": "x", "effect": "NoSchedule"}], disk="ssd")
        template = set_body("DaemonSet", "agent")["spec"]["template"]
        template["spec"]["nodeSelector"] = {"disk": "ssd"}
        daemon(world, template=template)
        await world.sleep(1)
        (pod,) = pods(world)
        required = pod["spec"]["affinity"]["nodeAffinity"]
        terms = required["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        field = {"key": "metadata.name", "operator": "In", "values": ["a"]}
        assert terms == [{"matchFields": [field]}]
        tolerated = {item["key"] for item in pod["spec"]["tolerations"]}
        assert "node.kubernetes.io/unschedulable" in tolerated
        node(world, "d", disk="ssd")
        await world.sleep(1)
        assert len(pods(world)) == 2
        found = status(world, "daemonsets", "agent")
        assert (found["desiredNumberScheduled"], found["numberReady"]) == (2, 0)
        await all_ready(world, 2)
        assert status(world, "daemonsets", "agent")["numberAvailable"] == 2
        world.patch("", "nodes", "", "a", {"metadata": {"labels": {"disk": "gone"}}})
        await world.sleep(1)
        assert len(pods(world)) == 1

    play(scene)


async def three_daemons(world: World, **rolling: Any) -> None:
    for name in ("a", "b", "c"):
        node(world, name)
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    daemon(world, updateStrategy=strategy)
    await all_ready(world, 3)
    world.patch("apps", "daemonsets", "default", "agent", image_of("two"))


def test_daemons_are_updated_node_by_node() -> None:
    async def scene(world: World) -> None:
        await three_daemons(world, maxUnavailable=1)
        await world.sleep(2)
        assert sorted(map(image, pods(world))) == ["one", "one", "two"]
        await all_ready(world, 3)
        assert sorted(map(image, pods(world))) == ["two"] * 3
        assert status(world, "daemonsets", "agent")["updatedNumberScheduled"] == 3

    play(scene)


def test_a_surge_brings_the_new_daemon_up_before_the_old_one_goes() -> None:
    async def scene(world: World) -> None:
        await three_daemons(world, maxUnavailable=0, maxSurge=1)
        await world.sleep(2)
        assert sorted(map(image, pods(world))) == ["one", "one", "one", "two"]
        await all_ready(world, 6)
        assert sorted(map(image, pods(world))) == ["two"] * 3

    play(scene)


def test_a_daemon_that_ended_is_made_anew_ever_later() -> None:
    async def scene(world: World) -> None:
        node(world, "a")
        daemon(world)
        await world.sleep(1)
        seen = set(names(world))
        for _ in range(6):
            (pod,) = pods(world)
            if pod["status"]["phase"] != "Failed":
                world.pod_status(pod, phase="Failed")
            await world.sleep(1)
            seen |= set(names(world))
        assert 2 <= len(seen) <= 4
        assert world.events("FailedDaemonPod")

    play(scene)


@pytest.mark.parametrize(
    ("taint", "expected"),
    [
        (("node.kubernetes.io/not-ready", "NoExecute"), Fit(True, True)),
        (("node.kubernetes.io/unschedulable", "NoSchedule"), Fit(True, True)),
        (("own", "PreferNoSchedule"), Fit(True, True)),
        (("own", "NoSchedule"), Fit(False, True)),
        (("own", "NoExecute"), Fit(False, False)),
    ],
)
def test_taints_keep_new_daemons_away_and_some_drive_out_the_old(
    taint: tuple[str, str], expected: Fit
) -> None:
    key, effect = taint
    tainted = Node(metadata=NodeMeta(name="n"), spec=NodeSpec((Taint(key, "", effect),)))
    assert fits(spec_of(PodTemplate({}, {"containers": []})), tainted) == expected
