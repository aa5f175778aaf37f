"""What a pod's spec may not say, in kube-apiserver's words."""

from __future__ import annotations

from typing import Any

import pytest

from proa.kube.schema.rules import check_create
from tests.unit.kube.schema.world import container, defaulted, pod, pods

NODE = "requiredDuringSchedulingIgnoredDuringExecution"


def said(obj: dict[str, Any]) -> str:
    return "\n".join(error.message() for error in check_create(pods(), defaulted(pods(), obj)))


def of(**fields: Any) -> dict[str, Any]:
    return pod(containers=[container(**fields)])


def node_terms(terms: list[Any]) -> dict[str, Any]:
    return pod(affinity={"nodeAffinity": {NODE: {"nodeSelectorTerms": terms}}})


def shows(path: str) -> dict[str, Any]:
    return of(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": path}}}])


HOST = {"containerPort": 80, "hostPort": 80}
REFUSED = [
    (of(ports=[HOST, {**HOST, "containerPort": 81}]),
     'spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80"'),
    (pod(containers=[container(ports=[HOST]), container(name="b", ports=[HOST])]),
     'spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//80"'),
    (of(securityContext={"runAsUser": -1}),
     "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and "
     "2147483647, inclusive"),
    (pod(securityContext={"fsGroup": 2**31}), "spec.securityContext.fsGroup: Invalid value"),
    (pod(securityContext={"supplementalGroups": [1, -2]}),
     "spec.securityContext.supplementalGroups[1]: Invalid value: -2"),
    (of(securityContext={"privileged": True, "allowPrivilegeEscalation": False}),
     "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
    (of(securityContext={"capabilities": {"add": ["SYS_ADMIN"]},
                         "allowPrivilegeEscalation": False}),
     "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"),
    (of(securityContext={"seccompProfile": {"type": "Localhost"}}),
     "seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"),
    (of(securityContext={"seccompProfile": {"type": "Mine"}}),
     'seccompProfile.type: Unsupported value: "Mine"'),
    (of(securityContext={"procMount": "Odd"}), 'procMount: Unsupported value: "Odd"'),
    (pod(securityContext={"sysctls": [{"name": "A B", "value": "1"}]}),
     "must have at most 253 characters and match regex"),
    (pod(securityContext={"sysctls": [{"name": "net.a", "value": "1"},
                                      {"name": "net/a", "value": "2"}]}),
     'spec.securityContext.sysctls[1].name: Duplicate value: "net.a"'),
    (pod(hostNetwork=True, securityContext={"sysctls": [{"name": "net.a", "value": "1"}]}),
     "may not be specified when 'hostNetwork' is true"),
    (node_terms([]), "nodeSelectorTerms: Required value: must have at least one node selector"),
    (node_terms([{"matchExpressions": [{"key": "a", "operator": "Odd"}]}]),
     'matchExpressions[0].operator: Invalid value: "Odd": not a valid selector operator'),
    (node_terms([{"matchExpressions": [{"key": "a", "operator": "In"}]}]),
     "matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or"),
    (node_terms([{"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1", "2"]}]}]),
     "values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"),
    (node_terms([{"matchFields": [{"key": "spec.x", "operator": "In", "values": ["a"]}]}]),
     'matchFields[0].key: Invalid value: "spec.x": not a valid field selector key'),
    (pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 0, "preference": {}}]}}),
     "weight: Invalid value: 0: must be in the range 1-100"),
    (pod(affinity={"podAntiAffinity": {NODE: [{"labelSelector": {}, "topologyKey": ""}]}}),
     f"spec.affinity.podAntiAffinity.{NODE}[0].topologyKey: Required value: can not be empty"),
    (shows("spec.nothing"),
     'fieldPath: Invalid value: "spec.nothing": error converting fieldPath: field label not '
     "supported: spec.nothing"),
    (shows("status.phase"), 'fieldPath: Unsupported value: "status.phase"'),
    (shows("metadata.labels"), 'fieldPath: Unsupported value: "metadata.labels"'),
    (of(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.odd"}}}]),
     'resourceFieldRef.resource: Unsupported value: "limits.odd"'),
    (pod(volumes=[{"name": "v", "downwardAPI": {"items": [
        {"path": "../x", "fieldRef": {"fieldPath": "metadata.name"}}]}}]),
     "spec.volumes[0].downwardAPI.items[0].path: Invalid value: \"../x\": must not contain '..'"),
    (pod(volumes=[{"name": "v", "downwardAPI": {"items": [
        {"path": "x", "fieldRef": {"fieldPath": "spec.nodeName"}}]}}]),
     'items[0].fieldRef.fieldPath: Unsupported value: "spec.nodeName"'),
    (pod(volumes=[{"name": "v", "hostPath": {"path": "/a/../b"}}]),
     "hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"),
    (pod(hostAliases=[{"ip": "x", "hostnames": ["a_b"]}]), "hostAliases[0].ip: Invalid value"),
    (pod(schedulingGates=[{"name": "a"}, {"name": "a"}]),
     'spec.schedulingGates[1]: Duplicate value: "a"'),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "text"), REFUSED, ids=range(len(REFUSED)))
def test_a_pod_that_cannot_be_is_refused(obj: dict[str, Any], text: str) -> None:
    assert text in said(obj)


@pytest.mark.parametrize(
    "obj",
    [
        shows("metadata.labels['app']"),
        shows("status.podIPs"),
        node_terms([{"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}]),
        node_terms([{"matchFields": [{"key": "metadata.name", "operator": "In",
                                      "values": ["n1"]}]}]),
        of(ports=[HOST, {"containerPort": 80, "hostPort": 80, "protocol": "UDP"}]),
        of(securityContext={"privileged": True, "runAsUser": 0}),
        pod(initContainers=[container(name="i", ports=[HOST])],
            containers=[container(ports=[HOST])]),
        pod(securityContext={"sysctls": [{"name": "net/ipv4/ip_forward", "value": "1"}]}),
    ],
)  # fmt: skip
def test_a_pod_that_can_be_is_admitted(obj: dict[str, Any]) -> None:
    assert said(obj) == ""
