"""Rules of Jobs between fields, in kube-apiserver's words."""

from __future__ import annotations

from typing import Any

import pytest

from proa.kube.schema.rules import check_create
from tests.unit.kube.schema.world import JSON, container, defaulted, resource


def faults(restart: str = "Never", **spec: Any) -> list[str]:
    template = {"spec": {"restartPolicy": restart, "containers": [container()]}}
    job: JSON = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "default"},
        "spec": {"template": template, **spec},
    }
    kind = resource("jobs", "batch")
    return [error.message() for error in check_create(kind, defaulted(kind, job))]


def failing(*rules: JSON) -> JSON:
    return {"podFailurePolicy": {"rules": list(rules)}}


def codes(*values: int, operator: str = "In", **more: Any) -> JSON:
    return {"action": "FailJob", "onExitCodes": {"operator": operator, "values": list(values),
                                                 **more}}  # fmt: skip


INDEXED = {"completionMode": "Indexed", "completions": 4}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"parallelism": 3},
        {**INDEXED, "backoffLimitPerIndex": 1, "maxFailedIndexes": 4},
        {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "0,2-3"}]}},
        {**INDEXED, "successPolicy": {"rules": [{"succeededCount": 4}]}},
        failing(codes(1, 42), {"action": "Ignore", "onPodConditions": [{"type": "X"}]}),
        failing(codes(0, operator="NotIn", containerName="web")),
    ],
)
def test_a_job_that_makes_sense_is_admitted(spec: JSON) -> None:
    assert faults(**spec) == []


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"completionMode": "Indexed", "parallelism": 1}, "spec.completions: Required value: when"),
        ({"backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex: Invalid value: 1: requires ind"),
        ({**INDEXED, "maxFailedIndexes": 1}, "spec.backoffLimitPerIndex: Required value: when max"),
        (
            {**INDEXED, "backoffLimitPerIndex": 1, "maxFailedIndexes": 5},
            "must be less than or equal to completions",
        ),
        ({"restart": "OnFailure", **failing(codes(1))}, 'only "Never" is supported when podFail'),
        (failing(codes(0)), "values[0]: Invalid value: 0: must not be 0 for the In operator"),
        (failing(codes(3, 2)), "onExitCodes.values: Invalid value: [3,2]: must be ordered"),
        (failing(codes(3, 3)), "onExitCodes.values[1]: Duplicate value: 3"),
        (failing(codes()), "at least one value is required"),
        (failing(codes(1, containerName="x")), "must be one of the container or initContainer"),
        (failing({"action": "FailJob"}), "specifying one of OnExitCodes and OnPodConditions is"),
        (
            failing({**codes(1), "onPodConditions": [{"type": "X"}]}),
            "specifying both OnExitCodes and OnPodConditions is not supported",
        ),
        (failing({**codes(1), "action": "FailIndex"}), "requires the backoffLimitPerIndex to be"),
        (failing({**codes(1), "action": "Explode"}), 'Unsupported value: "Explode"'),
        ({"podReplacementPolicy": "Never"}, "spec.podReplacementPolicy: Unsupported value"),
        (
            {"podReplacementPolicy": "TerminatingOrFailed", **failing(codes(1))},
            'supported values: "Failed"',
        ),
        ({"successPolicy": {"rules": [{"succeededCount": 1}]}}, "requires indexed completion mode"),
        ({**INDEXED, "successPolicy": {"rules": []}}, "at least one rules must be specified"),
        ({**INDEXED, "successPolicy": {"rules": [{}]}}, "at least one of succeededCount or"),
        ({**INDEXED, "successPolicy": {"rules": [{"succeededCount": 9}]}}, "or equal to 4"),
        (
            {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "3,1"}]}},
            "error parsing succeededIndexes",
        ),
        (
            {**INDEXED, "successPolicy": {"rules": [{"succeededIndexes": "4"}]}},
            "error parsing succeededIndexes",
        ),
    ],
)
def test_a_job_that_contradicts_itself_is_refused(spec: JSON, text: str) -> None:
    assert any(text in fault for fault in faults(**spec)), faults(**spec)
