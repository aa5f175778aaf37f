"""What kubectl get shows."""

from __future__ import annotations

from typing import Any

import pytest

from proa.kube.schema.printers.common import human_duration
from proa.kube.schema.tables import table
from tests.unit.kube.schema.world import container, kinds, pod, pods, resource

NOW = 1_700_000_000.0
BORN = "2023-11-14T22:08:20Z"


def cells(name: str, obj: dict[str, Any], group: str = "", version: str = "v1") -> dict[str, Any]:
    shown = table(resource(name, group, version), [obj], NOW)
    titles = [column["name"] for column in shown["columnDefinitions"]]
    return dict(zip(titles, shown["rows"][0]["cells"], strict=True))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (130, "2m10s"), (599, "9m59s"),
        (600, "10m"), (3 * 3600 - 1, "179m"), (3 * 3600, "3h"), (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"), (47 * 3600, "47h"), (48 * 3600, "2d"), (50 * 3600, "2d2h"),
        (8 * 86400, "8d"), (729 * 86400, "729d"), (731 * 86400, "2y1d"), (8 * 365 * 86400, "8y"),
        (-5, "<invalid>"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def status(state: dict[str, Any], name: str = "web", **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "restartCount": 0, "ready": False, **more}


RUNNING: dict[str, Any] = {"running": {"startedAt": BORN}}


def shown_pod(phase: str, *statuses: Any, spec: Any = None, **more: Any) -> dict[str, Any]:
    obj = pod(**(spec or {}))
    obj["metadata"]["creationTimestamp"] = BORN
    obj["status"] = {"phase": phase, "containerStatuses": list(statuses), **more}
    return obj


def test_running_pod_shows_ready_containers_and_age() -> None:
    obj = shown_pod("Running", status(RUNNING, ready=True), podIP="10.0.0.1")
    obj["spec"]["nodeName"] = "n1"
    shown = cells("pods", obj)
    assert (shown["Ready"], shown["Status"], shown["Age"]) == ("1/1", "Running", "5m")
    assert (shown["IP"], shown["Node"]) == ("10.0.0.1", "n1")
    assert shown["Nominated Node"] == "<none>"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"waiting": {"reason": "CrashLoopBackOff"}}, "CrashLoopBackOff"),
        ({"waiting": {"reason": "ImagePullBackOff"}}, "ImagePullBackOff"),
        ({"terminated": {"exitCode": 0, "reason": "Completed"}}, "Completed"),
        ({"terminated": {"exitCode": 3}}, "ExitCode:3"),
        ({"terminated": {"exitCode": 137, "signal": 9}}, "Signal:9"),
    ],
)
def test_pod_shows_the_reason_of_its_container(state: dict[str, Any], reason: str) -> None:
    assert cells("pods", shown_pod("Running", status(state)))["Status"] == reason


def test_restarts_tell_when_the_last_one_was() -> None:
    last = {"terminated": {"finishedAt": "2023-11-14T22:10:20Z", "exitCode": 1}}
    obj = shown_pod("Running", status(RUNNING, restartCount=2, lastState=last, ready=True))
    assert cells("pods", obj)["Restarts"] == "2 (3m ago)"


def test_init_containers_show_how_far_they_are() -> None:
    spec = {"initContainers": [container(name="a"), container(name="b")]}
    inits = [status({"terminated": {"exitCode": 0}}, "a"), status(RUNNING, "b")]
    obj = shown_pod("Pending", spec=spec, initContainerStatuses=inits)
    assert cells("pods", obj)["Status"] == "Init:1/2"
    inits[1]["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    assert cells("pods", obj)["Status"] == "Init:CrashLoopBackOff"
    inits[1]["state"] = {"terminated": {"exitCode": 2}}
    assert cells("pods", obj)["Status"] == "Init:ExitCode:2"


def test_sidecars_count_among_the_ready() -> None:
    spec = {"initContainers": [container(name="proxy", restartPolicy="Always")]}
    inits = [status(RUNNING, "proxy", started=True, ready=True, restartCount=1)]
    obj = shown_pod("Running", status(RUNNING, ready=True), spec=spec, initContainerStatuses=inits)
    shown = cells("pods", obj)
    assert (shown["Ready"], shown["Status"], shown["Restarts"]) == ("2/2", "Running", "1")


def test_pod_that_is_deleted_is_terminating_until_it_is_over() -> None:
    obj = shown_pod("Running", status(RUNNING, ready=True))
    obj["metadata"]["deletionTimestamp"] = BORN
    assert cells("pods", obj)["Status"] == "Terminating"
    obj["status"] = {"phase": "Succeeded"}
    assert cells("pods", obj)["Status"] == "Succeeded"


def test_pod_with_one_container_done_and_one_running_is_not_ready() -> None:
    done = status({"terminated": {"reason": "Completed", "exitCode": 0}}, "a")
    obj = shown_pod("Running", done, status(RUNNING, "b", ready=True))
    assert cells("pods", obj)["Status"] == "NotReady"
    obj["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert cells("pods", obj)["Status"] == "Running"


def test_row_of_a_finished_pod_says_so() -> None:
    shown = table(pods(), [shown_pod("Succeeded")], NOW)
    assert shown["rows"][0]["conditions"][0]["reason"] == "Succeeded"
    assert "conditions" not in table(pods(), [shown_pod("Running")], NOW)["rows"][0]


def test_deployment_shows_what_is_ready_of_what_is_wanted() -> None:
    obj = {
        "metadata": {"name": "web", "creationTimestamp": BORN},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [container()]}},
        },
        "status": {"readyReplicas": 2, "updatedReplicas": 3},
    }
    assert cells("deployments", obj, "apps") == {
        "Name": "web",
        "Ready": "2/3",
        "Up-to-date": 3,
        "Available": 0,
        "Age": "5m",
        "Containers": "web",
        "Images": "nginx:1",
        "Selector": "app=web",
    }


def test_services_show_their_addresses_and_ports() -> None:
    ports = [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
    obj: dict[str, Any] = {"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}}
    assert cells("services", obj)["External-IP"] == "<pending>"
    assert cells("services", obj)["Port(s)"] == "<none>"
    obj["spec"]["ports"] = ports
    obj["status"] = {"loadBalancer": {"ingress": [{"hostname": "lb.local"}]}}
    shown = cells("services", obj)
    assert shown["External-IP"] == "lb.local"
    assert shown["Port(s)"] == "80:30080/TCP,53/UDP"
    named = {"spec": {"type": "ExternalName", "externalName": "example.com"}}
    assert cells("services", named)["External-IP"] == "example.com"
    assert cells("services", named)["Cluster-IP"] == "<none>"


def test_nodes_show_their_state_and_roles() -> None:
    obj = {
        "metadata": {"labels": {"node-role.kubernetes.io/worker": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
        },
    }
    shown = cells("nodes", obj)
    assert shown["Status"] == "Ready,SchedulingDisabled"
    assert (shown["Roles"], shown["Version"]) == ("worker", "v1.36.0")
    assert (shown["Internal-IP"], shown["External-IP"]) == ("10.0.0.9", "<none>")
    assert (shown["OS-Image"], shown["Kernel-Version"]) == ("Debian", "<unknown>")


def test_jobs_show_their_state_and_duration() -> None:
    obj: dict[str, Any] = {
        "spec": {"completions": 2},
        "status": {"succeeded": 1, "startTime": "2023-11-14T22:12:20Z"},
    }
    shown = cells("jobs", obj, "batch")
    assert (shown["Status"], shown["Completions"], shown["Duration"]) == ("Running", "1/2", "60s")
    obj["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
    obj["status"]["completionTime"] = "2023-11-14T22:12:30Z"
    shown = cells("jobs", obj, "batch")
    assert (shown["Status"], shown["Duration"]) == ("Complete", "10s")


def test_autoscalers_show_what_is_measured_against_what_is_wanted() -> None:
    target = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    obj: dict[str, Any] = {
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": target}],
        }
    }
    shown = cells("horizontalpodautoscalers", obj, "autoscaling", "v2")
    assert shown["Reference"] == "Deployment/web"
    assert shown["Targets"] == "cpu: <unknown>/80%"
    current = {"type": "Resource", "resource": {"current": {"averageUtilization": 12}}}
    obj["status"] = {"currentMetrics": [current]}
    shown = cells("horizontalpodautoscalers", obj, "autoscaling", "v2")
    assert shown["Targets"] == "cpu: 12%/80%"


def test_events_show_when_what_and_about_whom() -> None:
    obj = {
        "lastTimestamp": "2023-11-14T22:12:20Z",
        "type": "Normal",
        "reason": "Started",
        "message": "Started it\n",
        "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{web}"},
        "source": {"component": "agent", "host": "n1"},
    }
    shown = cells("events", obj)
    assert (shown["Last Seen"], shown["Object"], shown["Message"]) == (
        "60s",
        "pod/web",
        "Started it",
    )
    assert (shown["Subobject"], shown["Source"], shown["Count"]) == (
        "spec.containers{web}",
        "agent, n1",
        1,
    )


def test_endpoints_show_a_few_addresses_and_how_many_more() -> None:
    addresses = [{"ip": f"10.0.0.{number}"} for number in range(5)]
    obj = {"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}
    shown = cells("endpoints", obj)["Endpoints"]
    assert shown == "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more..."


def test_claims_and_volumes_abbreviate_their_modes() -> None:
    claim = {
        "spec": {"volumeName": "pv1", "storageClassName": "fast", "volumeMode": "Filesystem"},
        "status": {"phase": "Bound", "capacity": {"storage": "1Gi"},
                   "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]},
    }  # fmt: skip
    shown = cells("persistentvolumeclaims", claim)
    assert (shown["Volume"], shown["Capacity"]) == ("pv1", "1Gi")
    assert (shown["Access Modes"], shown["StorageClass"]) == ("RWO,ROX", "fast")


def test_rows_include_what_was_asked_for() -> None:
    obj = pod()
    rows = {
        include: table(pods(), [obj], NOW, include)["rows"][0]  # type: ignore[arg-type]
        for include in ("None", "Metadata", "Object")
    }
    assert "object" not in rows["None"]
    assert rows["Metadata"]["object"]["kind"] == "PartialObjectMetadata"
    assert "spec" not in rows["Metadata"]["object"]
    assert rows["Object"]["object"] is obj


def test_every_kind_can_be_shown_empty_and_has_cells_of_the_type_it_says() -> None:
    for each in kinds().resources():
        shown = table(each, [{"metadata": {"name": "x"}}, {}], NOW)
        for row in shown["rows"]:
            for column, cell in zip(shown["columnDefinitions"], row["cells"], strict=True):
                if column["type"] == "integer":
                    assert isinstance(cell, int), (each.name, column["name"])
