"""A ReplicaSet's tally by the index is that of its pods looked at one by one."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from proa.base.clock import VirtualClock
from proa.kube.controllers.tally import Tally, counted, tallied
from proa.kube.keys import object_key
from proa.kube.tables import PODS, REPLICA_SETS, TABLES
from proa.reconcile.view import View
from proa.store.api import Batch, Event, Record
from proa.store.memory import MemoryStore

LABELS = {"app": "web", "pod-template-hash": "1"}
SET: dict[str, Any] = {
    "metadata": {"name": "web-1", "namespace": "default", "uid": "s", "generation": 1},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}},
    },
}
OWNER = {"kind": "ReplicaSet", "name": "web-1", "uid": "s", "controller": True}
READY = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
WAYS = st.sampled_from(
    ["gone", "waiting", "ready", "unready", "ending", "ended", "labelled more", "orphan"]
)


def pod(way: str) -> dict[str, Any]:
    meta: dict[str, Any] = {"namespace": "default", "labels": LABELS, "ownerReferences": [OWNER]}
    status: dict[str, Any] = {"phase": "Running"}
    match way:
        case "ready" | "ending" | "labelled more":
            status["conditions"] = [READY]
        case "unready":
            status["conditions"] = [{**READY, "status": "False"}]
        case "ended":
            status["phase"] = "Failed"
        case "orphan":
            del meta["ownerReferences"]
    if way == "ending":
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if way == "labelled more":
        meta["labels"] = {**LABELS, "canary": "yes"}
    return {"metadata": meta, "status": status}


class Scene:
    """A view that is told of one ReplicaSet and of its pods as they change."""

    def __init__(self, **spec: Any) -> None:
        self.view = View(MemoryStore(VirtualClock()), TABLES)
        self.version = 0
        self.tell("apps", "replicasets", "web-1", {**SET, "spec": {**SET["spec"], **spec}})
        (self.entry,) = self.view.rows(REPLICA_SETS).scan()

    def tell(self, group: str, resource: str, name: str, body: dict[str, Any] | None) -> None:
        self.version += 1
        key = object_key("c", group, resource, "default", name)
        record = Record(key, orjson.dumps(body), self.version, 1)
        kind = "put" if body is not None else "delete"
        self.view.take(Batch((Event(kind, record, None),), self.version))

    def pod(self, number: int, way: str) -> None:
        self.tell("", "pods", f"web-1-{number}", None if way == "gone" else pod(way))

    def looked_at(self) -> Tally:
        owned = self.view.rows(PODS).by("controller", "c/s")
        return tallied(self.entry.value, owned, 0.0)


@given(st.lists(st.tuples(st.integers(0, 3), WAYS), max_size=12))
def test_what_is_counted_is_what_is_seen(history: list[tuple[int, str]]) -> None:
    scene = Scene()
    now: dict[int, str] = {}
    for number, way in history:
        scene.pod(number, way)
        now[number] = way
        found = counted(scene.view, scene.entry)
        plain = not {"labelled more", "orphan"} & set(now.values())
        assert found == (scene.looked_at() if plain else None)


def test_pods_that_have_to_be_ready_for_a_while_are_looked_at() -> None:
    scene = Scene(minReadySeconds=10)
    scene.pod(1, "ready")
    assert counted(scene.view, scene.entry) is None


def test_pods_that_the_selector_does_not_speak_of_are_looked_at() -> None:
    scene = Scene(selector={"matchLabels": {"app": "other"}})
    scene.pod(1, "ready")
    assert counted(scene.view, scene.entry) is None


def test_a_pod_of_another_owner_is_not_counted_for_one_that_has_to_be_let_go() -> None:
    labels = {"x/app": "web"}
    scene = Scene(
        selector={"matchLabels": labels}, template={"metadata": {"labels": labels}, "spec": {}}
    )
    one, other = pod("ready"), pod("ready")
    one["metadata"]["labels"] = {"app": "none"}
    other["metadata"] |= {"labels": {"app": "web"}, "ownerReferences": [{**OWNER, "uid": "s/x"}]}
    scene.tell("", "pods", "one", one)
    scene.tell("", "pods", "other", other)
    assert counted(scene.view, scene.entry) is None
