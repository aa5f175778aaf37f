"""What kube-apiserver refuses beyond the schema, in its words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from proa.kube.schema.kinds import Resource
from proa.kube.schema.rules import check_create, check_update
from tests.unit.kube.schema.world import (
    container,
    defaulted,
    deployment,
    deployments,
    kinds,
    pod,
    pods,
    resource,
)

JSON = dict[str, Any]


def faults(of: Resource, obj: JSON) -> list[str]:
    return [error.message() for error in check_create(of, defaulted(of, obj))]


def update_faults(of: Resource, old: JSON, change: Callable[[JSON], Any]) -> list[str]:
    before = defaulted(of, old)
    after = copy.deepcopy(before)
    change(after)
    return [error.message() for error in check_update(of, before, after)]


def named(kind: str, spec: JSON, name: str = "x") -> JSON:
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def test_objects_in_order_are_let_through() -> None:
    assert faults(pods(), pod()) == []
    assert faults(deployments(), deployment()) == []
    assert update_faults(deployments(), deployment(), lambda d: d["spec"].update(replicas=3)) == []
    assert update_faults(pods(), pod(), lambda p: None) == []


@pytest.mark.parametrize(
    ("metadata", "fault"),
    [
        ({}, "metadata.name: Required value: name or generateName is required"),
        ({"name": "Bad"}, 'metadata.name: Invalid value: "Bad": a lowercase RFC 1123 subdomain'),
        ({"name": "x" * 254}, "must be no more than 253 bytes"),
        ({"generateName": "Bad-"}, 'metadata.generateName: Invalid value: "Bad-"'),
        ({"name": "x", "labels": {"a b": "c"}}, 'metadata.labels: Invalid value: "a b": name part'),
        ({"name": "x", "labels": {"a": "b c"}}, 'metadata.labels: Invalid value: "b c": a valid'),
        ({"name": "x", "annotations": {"/a": ""}}, "prefix part must be non-empty"),
        ({"name": "x", "annotations": {"a": "b" * 2**18}},
         "metadata.annotations: Too long: may not be more than 262144 bytes"),
        ({"name": "x", "finalizers": ["mine"]}, "nor is it fully qualified"),
        ({"name": "x", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]},
         'metadata.ownerReferences[0].uid: Invalid value: "": must not be empty'),
    ],
)  # fmt: skip
def test_metadata_is_checked_on_every_kind(metadata: JSON, fault: str) -> None:
    found = faults(resource("configmaps"), {"metadata": metadata})
    assert len(found) == 1
    assert fault in found[0]


def test_names_follow_their_kind() -> None:
    roles = resource("roles", "rbac.authorization.k8s.io")
    assert faults(roles, {"metadata": {"name": "system:Node"}}) == []
    assert faults(resource("namespaces"), {"metadata": {"name": "a.b"}})
    long = named("CronJob", {}, "c" * 53)
    assert any("no more than 52" in text for text in faults(resource("cronjobs", "batch"), long))


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"containers": []}, "spec.containers: Required value"),
        ({"containers": [{"name": "a"}]}, "spec.containers[0].image: Required value"),
        ({"containers": [container(), container()]},
         'spec.containers[1].name: Duplicate value: "web"'),
        ({"initContainers": [container()]}, 'spec.containers[0].name: Duplicate value: "web"'),
        ({"containers": [container(name="A")]}, "a lowercase RFC 1123 label must consist of"),
        ({"containers": [container(ports=[{"containerPort": 70000}])]},
         "ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
        ({"containers": [container(ports=[{"containerPort": 1, "protocol": "X"}])]},
         'protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"'),
        ({"containers": [container(volumeMounts=[{"name": "v", "mountPath": "/v"}])]},
         'spec.containers[0].volumeMounts[0].name: Not found: "v"'),
        ({"containers": [container(resources={"limits": {"cpu": "1"}, "requests": {"cpu": "2"}})]},
         'resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'),
        ({"containers": [container(resources={"requests": {"foo": "1"}})]},
         "must be a standard resource for containers"),
        ({"containers": [container(livenessProbe={})]},
         "livenessProbe: Required value: must specify a handler type"),
        ({"containers": [container(livenessProbe={"exec": {"command": ["a"]},
                                                  "successThreshold": 2})]},
         "livenessProbe.successThreshold: Invalid value: 2: must be 1"),
        ({"containers": [container(imagePullPolicy="Sometimes")]},
         'supported values: "Always", "IfNotPresent", "Never"'),
        ({"containers": [container(env=[{"name": "a=b"}])]}, "printable ASCII"),
        ({"initContainers": [container(name="i", readinessProbe={"exec": {"command": ["a"]}})]},
         "spec.initContainers[0].readinessProbe: Forbidden"),
        ({"restartPolicy": "Once"},
         'spec.restartPolicy: Unsupported value: "Once": supported values: "Always"'),
        ({"dnsPolicy": "None"}, "spec.dnsConfig.nameservers: Required value"),
        ({"volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}]},
         "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"),
        ({"volumes": [{"name": "a"}, {"name": "a"}]},
         'spec.volumes[1].name: Duplicate value: "a"'),
        ({"volumes": [{"name": "a", "secret": {}}]},
         "spec.volumes[0].secret.secretName: Required value"),
        ({"tolerations": [{"operator": "Equal"}]},
         "operator must be Exists when `key` is empty"),
        ({"terminationGracePeriodSeconds": -1}, "must be greater than or equal to 0"),
        ({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "zone",
                                         "whenUnsatisfiable": "DoNotSchedule"}]},
         "maxSkew: Invalid value: 0: must be greater than zero"),
    ],
)  # fmt: skip
def test_pod_that_cannot_run_is_refused(spec: JSON, fault: str) -> None:
    found = faults(pods(), pod(**spec))
    assert any(fault in text for text in found), found


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"selector": None}, "spec.selector: Required value"),
        ({"selector": {}}, "spec.selector: Invalid value: {}: empty selector is invalid"),
        ({"selector": {"matchLabels": {"app": "api"}}},
         'spec.template.metadata.labels: Invalid value: {"app":"web"}: '
         "`selector` does not match template `labels`"),
        ({"replicas": -1},
         "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"strategy": {"type": "Recreate", "rollingUpdate": {}}},
         "may not be specified when strategy `type` is 'Recreate'"),
        ({"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}},
         "may not be 0 when `maxSurge` is 0"),
        ({"strategy": {"rollingUpdate": {"maxUnavailable": "150%"}}},
         "must not be greater than 100%"),
        ({"progressDeadlineSeconds": 5, "minReadySeconds": 9}, "must be greater than minReady"),
        ({"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"restartPolicy": "Never",
          "containers": [container()]}}},
         'template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'),
        ({"template": None}, "spec.template.spec.containers: Required value"),
    ],
)  # fmt: skip
def test_deployment_that_contradicts_itself_is_refused(spec: JSON, fault: str) -> None:
    given = deployment(**spec)
    given["spec"] = {key: value for key, value in given["spec"].items() if value is not None}
    found = faults(deployments(), given)
    assert any(fault in text for text in found), found


def test_job_pods_may_not_restart_for_ever() -> None:
    spec = {"template": {"spec": {"containers": [container()]}}}
    found = faults(resource("jobs", "batch"), named("Job", spec))
    assert found == [
        'spec.template.spec.restartPolicy: Unsupported value: "Always": '
        'supported values: "OnFailure", "Never"'
    ]


def test_selector_of_a_deployment_does_not_change() -> None:
    def change(new: JSON) -> None:
        new["spec"]["selector"] = {"matchLabels": {"app": "web", "b": "c"}}
        new["spec"]["template"]["metadata"]["labels"]["b"] = "c"

    assert update_faults(deployments(), deployment(), change) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"web","b":"c"}}: field is immutable'
    ]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda p: p["spec"]["containers"][0].update(image="nginx:2"), ""),
        (lambda p: p["spec"].update(activeDeadlineSeconds=5), ""),
        (lambda p: p["spec"].update(tolerations=[{"key": "a", "operator": "Exists"}]), ""),
        (lambda p: p["metadata"].update(labels={"a": "b"}), ""),
        (lambda p: p["spec"]["containers"][0].update(args=["x"]), "spec: Forbidden: pod updates"),
        (lambda p: p["spec"].update(hostname="h"), "spec: Forbidden: pod updates"),
        (lambda p: p["spec"]["containers"].append(container(name="b")),
         "spec.containers: Forbidden: pod updates may not add or remove containers"),
        (lambda p: p["metadata"].update(uid="other"),
         'metadata.uid: Invalid value: "other": field is immutable'),
    ],
)  # fmt: skip
def test_pod_changes_only_where_it_may(change: Callable[[JSON], Any], fault: str) -> None:
    old = pod()
    old["metadata"]["uid"] = "1"
    found = update_faults(pods(), old, change)
    assert (found == []) if not fault else (len(found) == 1 and fault in found[0])


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({}, "spec.ports: Required value"),
        ({"ports": [{"port": 80}, {"port": 81}]}, "spec.ports[0].name: Required value"),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port: Invalid value: 0: must be between 1"),
        ({"ports": [{"port": 80, "nodePort": 30000}]},
         "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
        ({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]},
         'spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}'),
        ({"type": "Odd", "ports": [{"port": 80}]}, 'spec.type: Unsupported value: "Odd"'),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
    ],
)  # fmt: skip
def test_service_that_cannot_be_reached_is_refused(spec: JSON, fault: str) -> None:
    found = faults(resource("services"), named("Service", spec))
    assert any(fault in text for text in found), found


def test_headless_service_needs_no_ports_and_an_address_stays() -> None:
    services = resource("services")
    assert faults(services, named("Service", {"clusterIP": "None"})) == []
    old = named("Service", {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]})
    found = update_faults(services, old, lambda s: s["spec"].update(clusterIP="10.0.0.2"))
    assert found == ['spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set']


def test_immutable_configuration_stays_as_it_is() -> None:
    old = {"metadata": {"name": "c"}, "data": {"a": "1"}, "immutable": True}
    maps = resource("configmaps")
    found = update_faults(maps, old, lambda c: c["data"].update(a="2"))
    assert found == ["data: Forbidden: field is immutable when `immutable` is set"]
    assert faults(maps, {"metadata": {"name": "c"}, "data": {"a b": ""}})
    big = {"metadata": {"name": "c"}, "data": {"a": "x" * (2**20 + 1)}}
    assert any("may not be more than 1048576 bytes" in text for text in faults(maps, big))


def test_secret_keeps_its_type_and_has_the_keys_of_it() -> None:
    secrets = resource("secrets")
    tls = {"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": {"tls.crt": ""}}
    assert faults(secrets, tls) == ["data[tls.key]: Required value"]
    plain = {"metadata": {"name": "s"}}
    found = update_faults(secrets, plain, lambda s: s.update(type="x"))
    assert found == ['type: Invalid value: "x": field is immutable']


@pytest.mark.parametrize(
    ("name", "group", "obj", "fault"),
    [
        ("roles", "rbac.authorization.k8s.io", {"rules": [{"resources": ["pods"]}]},
         "rules[0].verbs: Required value: verbs must contain at least one value"),
        ("clusterrolebindings", "rbac.authorization.k8s.io",
         {"roleRef": {"kind": "Role", "name": "r"}},
         'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"'),
        ("priorityclasses", "scheduling.k8s.io", {"value": 2_000_000_000},
         "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
        ("cronjobs", "batch", {"spec": {"schedule": "* * *"}},
         'spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]'),
        ("poddisruptionbudgets", "policy", {"spec": {"minAvailable": 1, "maxUnavailable": 1}},
         "minAvailable and maxUnavailable cannot be both set"),
        ("ingresses", "networking.k8s.io", {"spec": {}},
         "either `defaultBackend` or `rules` must be specified"),
        ("persistentvolumeclaims", "", {"spec": {}},
         "spec.accessModes: Required value: at least 1 access mode is required"),
        ("customresourcedefinitions", "apiextensions.k8s.io",
         {"spec": {"group": "g", "names": {"plural": "p", "kind": "K"}}},
         'metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group'),
    ],
)  # fmt: skip
def test_other_kinds_have_their_rules(name: str, group: str, obj: JSON, fault: str) -> None:
    found = faults(resource(name, group), {"metadata": {"name": "x"}, **obj})
    assert any(fault in text for text in found), found


def test_stateful_set_changes_only_where_it_may() -> None:
    sets = resource("statefulsets", "apps")
    old = deployment()
    old["kind"] = "StatefulSet"
    assert update_faults(sets, old, lambda s: s["spec"].update(replicas=4)) == []
    found = update_faults(sets, old, lambda s: s["spec"].update(serviceName="other"))
    assert found[0].startswith("spec: Forbidden: updates to statefulset spec for fields other than")


def test_finalizers_are_not_added_to_what_is_being_deleted() -> None:
    old = {"metadata": {"name": "x", "deletionTimestamp": "2024-01-01T00:00:00Z"}}
    found = update_faults(
        resource("configmaps"), old, lambda c: c["metadata"].update(finalizers=["a/b"])
    )
    assert found == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being "
        'deleted, found new finalizers []string{"a/b"}'
    ]


def test_no_rule_stumbles_over_an_object_with_nothing_in_it() -> None:
    for each in kinds().resources():
        for obj in ({}, {"metadata": {}}, {"metadata": {"name": "x"}, "spec": {}}):
            check_create(each, defaulted(each, copy.deepcopy(obj)))
            check_update(each, copy.deepcopy(obj), copy.deepcopy(obj))
