"""What kube-apiserver writes into objects that leave things out."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from proa.kube.schema.defaults import RULES, apply_defaults
from tests.unit.kube.schema.world import (
    container,
    defaulted,
    deployment,
    deployments,
    kinds,
    pod,
    pods,
    resource,
    schemas,
)


def test_pod_gets_the_defaults_of_its_spec_and_containers() -> None:
    made = defaulted(pods(), pod(containers=[container(ports=[{"containerPort": 80}])]))["spec"]
    assert made["restartPolicy"] == "Always"
    assert made["dnsPolicy"] == "ClusterFirst"
    assert made["terminationGracePeriodSeconds"] == 30
    assert made["enableServiceLinks"] is True
    assert made["containers"][0] == container(
        ports=[{"containerPort": 80, "protocol": "TCP"}],
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy="IfNotPresent",
    )


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    made = defaulted(pods(), pod(containers=[{"name": "a", "image": image}]))
    assert made["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_limits_are_requests_in_pods_but_not_in_templates() -> None:
    limited = container(resources={"limits": {"cpu": "1", "memory": "1Gi"}})
    limited["resources"]["requests"] = {"cpu": "500m"}
    made = defaulted(pods(), pod(containers=[copy.deepcopy(limited)]))
    requests = made["spec"]["containers"][0]["resources"]["requests"]
    assert requests == {"cpu": "500m", "memory": "1Gi"}
    template = {"metadata": {}, "spec": {"containers": [limited]}}
    kept = defaulted(deployments(), deployment(template=template))
    in_template = kept["spec"]["template"]["spec"]
    assert in_template["containers"][0]["resources"]["requests"] == {"cpu": "500m"}
    assert "enableServiceLinks" not in in_template


def test_host_network_gives_ports_to_the_host_in_pods() -> None:
    made = defaulted(
        pods(), pod(hostNetwork=True, containers=[container(ports=[{"containerPort": 80}])])
    )
    assert made["spec"]["containers"][0]["ports"][0]["hostPort"] == 80


def test_probes_volumes_and_references_get_theirs() -> None:
    probed = container(
        livenessProbe={"httpGet": {"port": 80}},
        env=[{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    )
    made = defaulted(
        pods(),
        pod(
            containers=[probed],
            volumes=[
                {"name": "a"},
                {"name": "b", "secret": {"secretName": "s"}},
                {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            ],
        ),
    )["spec"]
    assert made["containers"][0]["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert made["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert made["volumes"][0] == {"name": "a", "emptyDir": {}}
    assert made["volumes"][1]["secret"]["defaultMode"] == 0o644
    token = made["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"]
    assert token["expirationSeconds"] == 3600


def test_deployment_rolls_by_quarters_unless_it_recreates() -> None:
    rolling = defaulted(deployments(), deployment())["spec"]
    assert rolling["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert (rolling["replicas"], rolling["revisionHistoryLimit"]) == (1, 10)
    recreated = defaulted(deployments(), deployment(strategy={"type": "Recreate"}, replicas=0))
    assert recreated["spec"]["strategy"] == {"type": "Recreate"}
    assert recreated["spec"]["replicas"] == 0


def job(**spec: Any) -> dict[str, Any]:
    return {"spec": {"template": {"metadata": {"labels": {"a": "b"}}}, **spec}}


def test_job_runs_one_pod_once_unless_told_otherwise() -> None:
    made = defaulted(resource("jobs", "batch"), job())
    assert made["spec"]["completions"] == 1
    assert made["spec"]["parallelism"] == 1
    assert made["spec"]["backoffLimit"] == 6
    assert made["metadata"]["labels"] == {"a": "b"}
    queue = defaulted(resource("jobs", "batch"), job(parallelism=3, backoffLimitPerIndex=1))
    assert "completions" not in queue["spec"]
    assert queue["spec"]["backoffLimit"] == 2**31 - 1
    policy = defaulted(resource("jobs", "batch"), job(podFailurePolicy={"rules": []}))
    assert policy["spec"]["podReplacementPolicy"] == "Failed"


def service(**spec: Any) -> Any:
    return defaulted(resource("services"), {"spec": {"ports": [{"port": 80}], **spec}})["spec"]


def test_service_defaults_follow_its_type() -> None:
    plain = service()
    assert plain["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (plain["type"], plain["sessionAffinity"]) == ("ClusterIP", "None")
    assert plain["internalTrafficPolicy"] == "Cluster"
    assert "externalTrafficPolicy" not in plain
    balanced = service(type="LoadBalancer")
    assert balanced["allocateLoadBalancerNodePorts"] is True
    assert balanced["externalTrafficPolicy"] == "Cluster"
    sticky = service(sessionAffinity="ClientIP")
    assert sticky["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    named = service(type="ExternalName")
    assert "internalTrafficPolicy" not in named


def test_autoscaler_behaviour_is_completed_only_where_there_is_one() -> None:
    autoscalers = resource("horizontalpodautoscalers", "autoscaling", "v2")
    plain = defaulted(autoscalers, {"spec": {}})["spec"]
    assert plain["metrics"][0]["resource"]["target"]["averageUtilization"] == 80
    assert "behavior" not in plain
    slow = {"scaleDown": {"stabilizationWindowSeconds": 5}}
    made = defaulted(autoscalers, {"spec": {"behavior": slow}})["spec"]["behavior"]
    assert made["scaleDown"]["stabilizationWindowSeconds"] == 5
    assert made["scaleDown"]["selectPolicy"] == "Max"
    assert len(made["scaleUp"]["policies"]) == 2


def test_secret_texts_become_data() -> None:
    secret = {"data": {"a": "MQ=="}, "stringData": {"b": "2", "a": "3"}}
    made = defaulted(resource("secrets"), secret)
    assert made == {"data": {"a": "Mw==", "b": "Mg=="}, "type": "Opaque"}


def test_namespace_carries_its_name_as_a_label() -> None:
    made = defaulted(resource("namespaces"), {"metadata": {"name": "shop"}})
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    assert made["status"] == {"phase": "Active"}


def test_network_policy_without_types_is_for_ingress() -> None:
    policies = resource("networkpolicies", "networking.k8s.io")
    assert defaulted(policies, {"spec": {}})["spec"]["policyTypes"] == ["Ingress"]
    both = defaulted(policies, {"spec": {"egress": [{}]}})["spec"]
    assert both["policyTypes"] == ["Ingress", "Egress"]


def test_stateful_set_claims_are_objects_of_their_own() -> None:
    spec = {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}
    made = defaulted(resource("statefulsets", "apps"), {"spec": spec})["spec"]
    claim = made["volumeClaimTemplates"][0]
    assert claim["kind"] == "PersistentVolumeClaim"
    assert claim["spec"]["volumeMode"] == "Filesystem"
    assert made["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}


def test_defaulting_twice_changes_nothing() -> None:
    for of, obj in ((deployments(), deployment()), (pods(), pod(volumes=[{"name": "a"}]))):
        once = defaulted(of, obj)
        again = copy.deepcopy(once)
        apply_defaults(of, again)
        assert again == once


def test_defaults_never_share_values_between_objects() -> None:
    one, other = defaulted(deployments(), deployment()), defaulted(deployments(), deployment())
    one["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = 7
    assert other["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == "25%"


def test_every_rule_is_for_a_known_definition() -> None:
    known = {".".join(name.split(".")[-3:]) for name in schemas().structure}
    assert set(RULES) <= known
    for each in kinds().resources():
        apply_defaults(each, {"metadata": {"name": "x"}})
