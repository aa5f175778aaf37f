"""Agents' reports as pod statuses, and what is asked of the API after them."""

from __future__ import annotations

import json
from typing import Any

import orjson

from proa.kube.decoding import decoder
from proa.kube.objects import Pod
from proa.kube.pod_status import pod_status, reported_body
from proa.model.sandbox import ContainerStatus, SandboxStatus
from proa.reconcile.view import Entry

NOW = 1_800_000_000.0
AT = "2027-01-15T08:00:00Z"


def pod(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "u-1", "generation": 1},
        "spec": {"containers": [{"name": "main", "image": "nginx:alpine"}], **spec},
        "status": status or {"phase": "Pending"},
    }


def seen(phase: str = "running", *containers: ContainerStatus, **more: Any) -> SandboxStatus:
    return SandboxStatus(
        "u-1", phase, containers=containers, address="10.0.0.5", sandbox_ready_at=NOW - 5, **more
    )


def running(name: str = "main", **more: Any) -> ContainerStatus:
    given = {"state": "running", "started_at": NOW - 3, "id": "abc", "started": True, "ready": True}
    return ContainerStatus(name, **{**given, **more})


def conditions(body: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {item["type"]: (item["status"], item.get("reason", "")) for item in body["conditions"]}


def test_running_pod_is_ready_with_addresses_and_containers() -> None:
    body = pod_status(pod(), seen("running", running(image_digest="r@sha256:1")), NOW, "172.31.0.9")
    assert body["phase"] == "Running"
    assert (body["podIP"], body["hostIP"]) == ("10.0.0.5", "172.31.0.9")
    assert body["podIPs"] == [{"ip": "10.0.0.5"}]
    assert body["qosClass"] == "BestEffort"
    assert body["startTime"] == AT
    (main,) = body["containerStatuses"]
    assert main["containerID"] == "containerd://abc"
    assert main["imageID"] == "r@sha256:1"
    assert main["state"] == {"running": {"startedAt": "2027-01-15T07:59:57Z"}}
    assert all(value == ("True", "") for value in conditions(body).values())
    assert set(conditions(body)) == {
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    }


def test_unready_container_is_named_in_the_conditions() -> None:
    body = pod_status(pod(), seen("running", running(ready=False)), NOW)
    ready = next(item for item in body["conditions"] if item["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    assert ready["message"] == "containers with unready status: [main]"


def test_condition_keeps_its_transition_while_it_holds() -> None:
    known = {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    gate = {"type": "DisruptionTarget", "status": "True"}
    body = pod_status(pod({"conditions": [known, gate]}), seen("running", running()), NOW)
    by_type = {item["type"]: item for item in body["conditions"]}
    assert by_type["Ready"]["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert by_type["ContainersReady"]["lastTransitionTime"] == AT
    assert by_type["DisruptionTarget"] == gate


def test_init_containers_hold_the_pod_back_until_they_are_done() -> None:
    inits = [{"name": "first", "image": "busybox"}]
    going = ContainerStatus("first", "running", started_at=NOW)
    body = pod_status(pod(initContainers=inits), seen("pending", going), NOW)
    assert conditions(body)["Initialized"] == ("False", "ContainersNotInitialized")
    waiting = {"waiting": {"reason": "PodInitializing"}}
    assert body["containerStatuses"][0]["state"] == waiting
    done = ContainerStatus("first", "exited", exit_code=0, reason="Completed", finished_at=NOW)
    body = pod_status(pod(initContainers=inits), seen("running", done, running()), NOW)
    assert conditions(body)["Initialized"] == ("True", "")
    assert body["initContainerStatuses"][0]["ready"] is True


def test_crashing_container_shows_its_last_end() -> None:
    last = ContainerStatus(
        "main", "exited", reason="Error", exit_code=3, started_at=NOW - 2, finished_at=NOW, id="old"
    )
    back_off = ContainerStatus("main", reason="CrashLoopBackOff", message="back-off", restarts=4,
                               last=last)  # fmt: skip
    (main,) = pod_status(pod(), seen("running", back_off), NOW)["containerStatuses"]
    assert main["restartCount"] == 4
    assert main["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    ended = main["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["containerID"]) == (
        3,
        "Error",
        "containerd://old",
    )


def test_succeeded_pod_is_completed_and_stays_so() -> None:
    ended = ContainerStatus("main", "exited", reason="Completed", exit_code=0)
    body = pod_status(pod(), seen("succeeded", ended), NOW)
    assert body["phase"] == "Succeeded"
    assert conditions(body)["Ready"] == ("False", "PodCompleted")
    assert pod_status(pod({"phase": "Failed"}), seen("running", running()), NOW)["phase"] == (
        "Failed"
    )


def test_refused_pod_fails_with_the_kubelets_words() -> None:
    text = (
        "Pod was rejected: Node didn't have enough resource: cpu, "
        "requested: 100, used: 900, capacity: 1000"
    )
    refused = SandboxStatus("u-1", "failed", reason="OutOfcpu", message=text, gone=True)
    body = pod_status(pod(), refused, NOW)
    assert (body["phase"], body["reason"], body["message"]) == ("Failed", "OutOfcpu", text)
    assert "containerStatuses" not in body


def test_readiness_gate_must_be_met_too() -> None:
    gated = pod(readinessGates=[{"conditionType": "lb/ready"}])
    body = pod_status(gated, seen("running", running()), NOW)
    assert conditions(body)["Ready"] == ("False", "ReadinessGatesNotReady")
    assert conditions(body)["ContainersReady"][0] == "True"
    gated["status"] = {"conditions": [{"type": "lb/ready", "status": "True"}]}
    assert conditions(pod_status(gated, seen("running", running()), NOW))["Ready"][0] == "True"


def entry(body: dict[str, Any]) -> Entry[Pod]:
    data = json.dumps(body).encode()
    return Entry("/kube/c1/core/pods/default/web", data, 7, 1, decoder(Pod)(data))


def test_report_that_says_nothing_new_changes_nothing() -> None:
    body = pod()
    report = seen("running", running())
    stored = reported_body(entry(body), report, NOW)
    assert stored is not None
    after = orjson.loads(stored)
    assert after["status"]["phase"] == "Running"
    assert after["spec"] == body["spec"]
    assert None not in after["status"].values()
    assert reported_body(entry(after), report, NOW + 60) is None


def test_report_about_an_earlier_pod_of_the_name_is_ignored() -> None:
    other = SandboxStatus("u-0", "running")
    assert reported_body(entry(pod()), other, NOW) is None
