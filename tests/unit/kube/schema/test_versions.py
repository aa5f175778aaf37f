"""Objects that have two versions: either says the same."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proa.kube.schema.versions import in_version

V1, V2 = "autoscaling/v1", "autoscaling/v2"
CORE, EVENTS = "v1", "events.k8s.io/v1"


def metric(name: str, **target: Any) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": name, "target": target}}


def autoscaler(metrics: list[Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": V2,
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h", "annotations": {"mine": "stays"}},
        "spec": {"maxReplicas": 3, "metrics": metrics, **spec},
        "status": {"currentReplicas": 1, "conditions": [{"type": "AbleToScale"}]},
    }


def test_the_cpu_target_is_a_field_of_its_own_in_v1_and_the_rest_an_annotation() -> None:
    cpu, memory = metric("cpu", type="Utilization", averageUtilization=70), metric("memory")
    older = in_version(autoscaler([cpu, memory], behavior={"scaleDown": {}}), V1)
    assert older["apiVersion"] == V1
    assert older["spec"] == {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70}
    prefix = "autoscaling.alpha.kubernetes.io/"
    assert set(older["metadata"]["annotations"]) == {
        "mine", f"{prefix}metrics", f"{prefix}behavior", f"{prefix}conditions",
    }  # fmt: skip


METRICS = st.lists(
    st.sampled_from(
        [
            metric("memory", type="Utilization", averageUtilization=5),
            metric("cpu", type="AverageValue", averageValue="100m"),
            {"type": "Pods", "pods": {"metric": {"name": "requests"}}},
        ]
    ),
    max_size=3,
)


@given(METRICS, st.none() | st.integers(1, 100))
def test_there_and_back_is_the_same_autoscaler(others: list[Any], share: int | None) -> None:
    cpu = [metric("cpu", type="Utilization", averageUtilization=share)] if share else []
    given_one = autoscaler([*cpu, *others])
    if not given_one["spec"]["metrics"]:
        del given_one["spec"]["metrics"]
    before = copy.deepcopy(given_one)
    assert in_version(in_version(given_one, V1), V2) == before
    assert given_one == before


def test_an_annotation_that_makes_no_sense_adds_nothing() -> None:
    older = in_version(autoscaler([]), V1)
    older["metadata"]["annotations"] = {"autoscaling.alpha.kubernetes.io/metrics": "{"}
    assert "metrics" not in in_version(older, V2)["spec"]


def test_events_have_other_words_for_the_same() -> None:
    event = {
        "apiVersion": CORE,
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "reason": "Pulled",
        "message": "done",
        "source": {"component": "kubelet"},
        "count": 2,
        "type": "Normal",
    }
    newer = in_version(event, EVENTS)
    assert newer["regarding"] == event["involvedObject"]
    assert (newer["note"], newer["deprecatedCount"], newer["reason"]) == ("done", 2, "Pulled")
    assert in_version(newer, CORE) == event
