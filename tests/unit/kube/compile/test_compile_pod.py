"""compile_pod: what an agent is told of a pod."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import orjson
import pytest

from proa.base.quantity import CPU_PER_MILLICORE, MIB
from proa.kube.compile.containers import container as compile_container
from proa.kube.compile.environment import environment, expand
from proa.kube.compile.pod import compile_pod
from proa.kube.compile.requests import pod_reserve, quality_of_service, shares_of
from proa.kube.compile.sources import Sources, TokenRequest
from proa.kube.decoding import decoder
from proa.kube.objects import Pod, Service
from proa.model.resources import Port, Resources
from proa.model.sandbox import HttpProbe, Sandbox

KEY = "/kube/c1/core/pods/default/web"
CONFIG = {"data": {"color": "blue", "size": "9"}}
SECRET = {"data": {"password": base64.b64encode(b"s3cret").decode()}}


def sources(**more: Any) -> Sources:
    given = {
        "config_maps": {"settings": CONFIG}.get,
        "secrets": {"login": SECRET}.get,
        "address": "10.0.0.5",
        "host_address": "172.31.0.9",
        "vpc": "vpc-1",
        "allocatable": {"cpu": "2", "memory": "4Gi"},
        **more,
    }
    return Sources(**given)


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "web",
            "namespace": "default",
            "uid": "u-1",
            "labels": {"app": "web"},
            "annotations": {"note": 'say "hi"'},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"nodeName": "node-1", "containers": list(containers) or [main()], **spec},
    }


def main(**more: Any) -> dict[str, Any]:
    return {"name": "main", "image": "nginx:alpine", **more}


def compiled(body: dict[str, Any], **more: Any) -> Sandbox:
    text = orjson.dumps(body)
    return compile_pod(text, decoder(Pod)(text), KEY, "i-1", sources(**more))


def values(*env: dict[str, Any], **more: Any) -> dict[str, str]:
    item = main(env=list(env), **more)
    return environment(pod(item), item, sources())


def test_environment_reads_values_references_and_fields() -> None:
    found = values(
        {"name": "PLAIN", "value": "x"},
        {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
        {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
    )
    assert found == {
        "PLAIN": "x",
        "COLOR": "blue",
        "PASS": "s3cret",
        "IP": "10.0.0.5",
        "NODE": "node-1",
        "APP": "web",
    }


def test_variables_expand_what_came_before_and_keep_the_rest() -> None:
    found = values(
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)-$(C)-$$(A)-$(color)"},
        {"name": "C", "value": "3"},
        envFrom=[{"configMapRef": {"name": "settings"}}],
    )
    assert found["B"] == "1-$(C)-$(A)-blue"
    assert expand("$$$(A) $(", {"A": "1"}) == "$1 $("


def test_later_sources_win_and_prefixes_apply() -> None:
    found = values(
        {"name": "S_color", "value": "red"},
        envFrom=[{"prefix": "S_", "configMapRef": {"name": "settings"}}],
    )
    assert found == {"S_color": "red", "S_size": "9"}


@pytest.mark.parametrize(
    ("reference", "size", "expected"),
    [
        ({"resource": "limits.cpu"}, {}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, {"limits": {"cpu": "250m"}}, "250"),
        ({"resource": "limits.cpu"}, {"limits": {"cpu": "250m"}}, "1"),
        ({"resource": "requests.memory", "divisor": "1Mi"}, {"requests": {"memory": "64Mi"}}, "64"),
        ({"resource": "limits.memory"}, {}, str(4096 * MIB)),
    ],
)
def test_resource_fields_are_rounded_up_in_units_of_their_divisor(
    reference: dict[str, str], size: dict[str, Any], expected: str
) -> None:
    found = values({"name": "R", "valueFrom": {"resourceFieldRef": reference}}, resources=size)
    assert found == {"R": expected}


def test_services_of_the_namespace_appear_as_variables_unless_switched_off() -> None:
    body = {
        "metadata": {"name": "my-db", "namespace": "default"},
        "spec": {"clusterIP": "10.100.0.9", "ports": [{"name": "sql", "port": 5432}]},
    }
    service = msgspec.convert(body, Service)
    item = main()
    on = environment(pod(item), item, sources(services=[service]))
    assert on["MY_DB_SERVICE_HOST"] == "10.100.0.9"
    assert on["MY_DB_SERVICE_PORT_SQL"] == "5432"
    assert on["MY_DB_PORT_5432_TCP_ADDR"] == "10.100.0.9"
    off = environment(pod(item, enableServiceLinks=False), item, sources(services=[service]))
    assert off == {}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "none", "key": "k"}}, 'secret "none" not found'),
        (
            {"configMapKeyRef": {"name": "settings", "key": "k"}},
            "couldn't find key k in ConfigMap default/settings",
        ),
    ],
)
def test_missing_reference_blocks_its_container_alone(source: dict[str, Any], message: str) -> None:
    bad = main(env=[{"name": "X", "valueFrom": source}])
    sandbox = compiled(pod(bad, {"name": "other", "image": "busybox"}))
    assert sandbox.containers[0].blocked == f"CreateContainerConfigError: {message}"
    assert sandbox.containers[1].blocked == ""


def test_optional_reference_leaves_the_variable_out() -> None:
    source = {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}
    assert values({"name": "X", "valueFrom": source}) == {}


def test_volumes_render_files_with_their_modes() -> None:
    minted: list[TokenRequest] = []

    def mint(request: TokenRequest) -> str:
        minted.append(request)
        return "token"

    items = [{"key": "color", "path": "sub/colour", "mode": 0o600}]
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}
    labels = {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}
    body = pod(
        main(volumeMounts=[{"name": "c", "mountPath": "/c", "readOnly": True, "subPath": "x"}]),
        serviceAccountName="robot",
        volumes=[
            {"name": "c", "configMap": {"name": "settings", "items": items}},
            {"name": "s", "secret": {"secretName": "login", "defaultMode": 0o400}},
            {"name": "p", "projected": {"sources": [token, {"downwardAPI": labels}]}},
            {"name": "e", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "h", "hostPath": {"path": "/tmp", "type": "Directory"}},
        ],
    )
    sandbox = compiled(body, tokens=mint)
    volumes = {item.name: item for item in sandbox.volumes}
    (file,) = volumes["c"].files
    assert (file.path, file.content, file.mode) == ("sub/colour", b"blue", 0o600)
    (file,) = volumes["s"].files
    assert (file.path, file.content, file.mode) == ("password", b"s3cret", 0o400)
    assert {f.path: f.content for f in volumes["p"].files} == {
        "labels": b'app="web"',
        "token": b"token",
    }
    assert minted[0].service_account == "robot"
    assert minted[0].expiration_s == 3607
    assert (volumes["e"].kind, volumes["e"].medium, volumes["e"].size_limit) == (
        "empty",
        "Memory",
        MIB,
    )
    assert (volumes["h"].kind, volumes["h"].path) == ("host", "/tmp")
    (mount,) = sandbox.containers[0].mounts
    assert (mount.path, mount.read_only, mount.sub_path) == ("/c", True, "x")


def test_missing_volume_source_blocks_every_container() -> None:
    sandbox = compiled(pod(volumes=[{"name": "c", "configMap": {"name": "none"}}]))
    text = 'MountVolume.SetUp failed for volume "c" : configmap "none" not found'
    assert sandbox.containers[0].blocked == f"ContainerCreating: {text}"
    optional = {"name": "c", "configMap": {"name": "none", "optional": True}}
    assert compiled(pod(volumes=[optional])).containers[0].blocked == ""


@pytest.mark.parametrize(
    ("millicores", "shares"), [(0, 2), (1, 2), (100, 102), (250, 256), (1000, 1024)]
)
def test_cpu_requests_become_shares_by_the_kubelets_formula(millicores: int, shares: int) -> None:
    assert shares_of(millicores * CPU_PER_MILLICORE) == shares


def test_resources_become_shares_quota_and_limit() -> None:
    size = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": 1, "memory": "512Mi"}}
    found = compiled(pod(main(resources=size))).containers[0]
    assert (found.cpu_shares, found.cpu_quota, found.memory_limit) == (256, 128_000, 512 * MIB)
    only_limit = compiled(pod(main(resources={"limits": {"cpu": "500m"}}))).containers[0]
    assert only_limit.cpu_shares == 512


def sized(cpu: str, **more: Any) -> dict[str, Any]:
    return main(resources={"requests": {"cpu": cpu}}, **more)


def test_pod_reserves_the_larger_of_its_containers_and_its_init_containers() -> None:
    body = pod(sized("100m"), sized("200m"))
    body["spec"]["initContainers"] = [
        sized("1", restartPolicy="Always"),
        sized("500m"),
    ]
    body["spec"]["overhead"] = {"cpu": "10m"}
    found = pod_reserve(msgspec.convert(body, Pod))
    assert found == Resources(cpu=1510 * CPU_PER_MILLICORE, sandboxes=1)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_quality_of_service_follows_requests_and_limits(
    size: dict[str, Any], expected: str
) -> None:
    assert quality_of_service(msgspec.convert(pod(main(resources=size)), Pod)) == expected


def test_probes_find_named_ports_and_take_defaults() -> None:
    item = main(
        ports=[{"name": "http", "containerPort": 8080}],
        readinessProbe={"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 3},
        livenessProbe={"exec": {"command": ["true"]}, "terminationGracePeriodSeconds": 5},
        lifecycle={"preStop": {"exec": {"command": ["sleep", "1"]}}},
    )
    found = compile_container(pod(item), item, False, sources(), "")
    assert found.readiness is not None and found.liveness is not None
    assert found.readiness.http == HttpProbe(8080, "/ready")
    assert (found.readiness.period_s, found.readiness.failures) == (3, 3)
    assert (found.liveness.command, found.liveness.grace_s) == (("true",), 5)
    assert found.pre_stop is not None and found.pre_stop.command == ("sleep", "1")


def test_commands_expand_the_containers_variables() -> None:
    item = main(
        env=[{"name": "WHO", "value": "you"}], command=["echo", "$(WHO)"], args=["$(NOBODY)"]
    )
    found = compiled(pod(item)).containers[0]
    assert (found.entrypoint, found.arguments) == (("echo", "you"), ("$(NOBODY)",))


def test_init_containers_come_first_and_restart_by_their_own_rule() -> None:
    body = pod(main(), restartPolicy="Always")
    body["spec"]["initContainers"] = [
        {"name": "once", "image": "busybox"},
        {"name": "side", "image": "busybox", "restartPolicy": "Always"},
    ]
    found = compiled(body).containers
    assert [(item.name, item.init, item.restart) for item in found] == [
        ("once", True, "OnFailure"),
        ("side", True, "Always"),
        ("main", False, "Always"),
    ]


def test_security_context_of_the_container_wins_over_the_pods() -> None:
    item = main(securityContext={"runAsUser": 1000, "capabilities": {"drop": ["ALL"]}})
    body = pod(item, securityContext={"runAsUser": 1, "runAsGroup": 2, "runAsNonRoot": True})
    found = compiled(body).containers[0]
    assert (found.user, found.run_as_non_root, found.drop_capabilities) == (
        "1000:2",
        True,
        ("ALL",),
    )
    root = compiled(pod(main(), securityContext={"runAsUser": 0, "runAsNonRoot": True}))
    assert root.containers[0].blocked.startswith("CreateContainerConfigError: container's runAs")


def test_resolver_follows_the_dns_policy() -> None:
    dns = compiled(pod()).network.dns
    assert dns.servers == ("10.100.0.10",)
    assert dns.searches == ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")
    assert dns.options == ("ndots:5",)
    assert compiled(pod(hostNetwork=True)).network.dns.servers == ()
    own = {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]}
    none = compiled(pod(dnsPolicy="None", dnsConfig=own)).network.dns
    assert (none.servers, none.options) == (("1.1.1.1",), ("ndots:2",))


def test_network_carries_names_aliases_and_host_ports() -> None:
    item = main(ports=[{"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}])
    body = pod(
        item,
        hostname="a",
        subdomain="db",
        hostAliases=[{"ip": "1.2.3.4", "hostnames": ["x", "y"]}],
    )
    sandbox = compiled(body)
    assert sandbox.network.hostname == "a"
    assert ("1.2.3.4", ("x", "y")) in sandbox.network.hosts
    assert ("10.0.0.5", ("a.db.default.svc.cluster.local", "a")) in sandbox.network.hosts
    assert sandbox.ports == (Port(8080, "udp"),)
    on_host = compiled(pod(main(ports=[{"containerPort": 80}]), hostNetwork=True))
    assert on_host.network.mode == "host"
    assert on_host.ports == (Port(80, "tcp"),)


def test_pod_wide_security_reaches_its_containers_and_its_sandbox() -> None:
    made = compiled(
        pod(
            main(securityContext={"seccompProfile": {"type": "Unconfined"}}),
            main(name="second"),
            securityContext={
                "fsGroup": 2000,
                "supplementalGroups": [3000, 3001],
                "sysctls": [{"name": "net.core.somaxconn", "value": "256"}],
                "seccompProfile": {"type": "Localhost", "localhostProfile": "own.json"},
            },
        )
    )
    first, second = made.containers
    assert (made.fs_group, made.sysctls) == (2000, (("net.core.somaxconn", "256"),))
    assert first.supplemental_groups == second.supplemental_groups == (3000, 3001)
    assert (first.seccomp, second.seccomp) == ("unconfined", "localhost/own.json")


def test_hooks_may_sleep_and_last_words_may_come_from_the_log() -> None:
    item = main(
        lifecycle={"preStop": {"sleep": {"seconds": 3}}},
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    (container,) = compiled(pod(item)).containers
    assert container.pre_stop is not None and container.pre_stop.sleep_s == 3
    assert container.termination_message_from_logs


def test_sub_path_expressions_take_the_containers_variables() -> None:
    mount = {"name": "data", "mountPath": "/data", "subPathExpr": "logs/$(APP)"}
    item = main(env=[{"name": "APP", "value": "web"}], volumeMounts=[mount])
    (container,) = compiled(pod(item, volumes=[{"name": "data", "emptyDir": {}}])).containers
    assert container.mounts[0].sub_path == "logs/web"


@pytest.mark.parametrize("value, words", [(None, "missing value for 'APP'"), ("..", "leads out")])
def test_sub_path_that_cannot_be_blocks_its_container(value: str | None, words: str) -> None:
    mount = {"name": "data", "mountPath": "/data", "subPathExpr": "$(APP)"}
    item = main(env=[{"name": "APP", "value": value}] if value else [], volumeMounts=[mount])
    (container,) = compiled(pod(item, volumes=[{"name": "data", "emptyDir": {}}])).containers
    assert container.blocked.startswith("CreateContainerConfigError: ")
    assert words in container.blocked


def test_mounts_propagate_as_asked() -> None:
    mounts = [
        {"name": "data", "mountPath": "/a", "mountPropagation": "Bidirectional"},
        {"name": "data", "mountPath": "/b", "mountPropagation": "None"},
    ]
    (container,) = compiled(pod(main(volumeMounts=mounts))).containers
    assert [mount.propagation for mount in container.mounts] == ["Bidirectional", ""]


def test_limits_of_the_whole_pod_bound_its_sandbox() -> None:
    made = compiled(pod(resources={"limits": {"cpu": "500m", "memory": "64Mi"}}))
    assert (made.cpu_quota, made.memory_limit) == (500 * CPU_PER_MILLICORE, 64 * MIB)


def test_a_runtime_class_of_another_runtime_blocks_the_pod() -> None:
    handlers = {"plain": "runc", "strange": "gvisor", "": ""}.__getitem__
    (container,) = compiled(pod(runtimeClassName="strange"), handlers=handlers).containers
    assert 'no runtime for "gvisor" is configured' in container.blocked
    (container,) = compiled(pod(runtimeClassName="plain"), handlers=handlers).containers
    assert not container.blocked
