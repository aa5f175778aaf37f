"""Whole pods with real containers: volumes, environment, security, names, hooks, and their ends."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.live import Proa, eventually

SPACE = "whole-pods"
LOOP = "trap 'exit 0' TERM; while true; do sleep 0.2; done"
WHOLE = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data: {{color: blue, a.conf: x=1}}
---
apiVersion: v1
kind: Secret
metadata: {{name: login}}
stringData: {{password: s3cret}}
---
apiVersion: v1
kind: Pod
metadata:
  name: whole
  labels: {{app: whole}}
  annotations: {{note: 'say "hi"'}}
spec:
  hostname: host
  subdomain: sub
  shareProcessNamespace: true
  terminationGracePeriodSeconds: 5
  hostAliases: [{{ip: 192.0.2.9, hostnames: [nine.example]}}]
  dnsConfig: {{searches: [example.com], options: [{{name: ndots, value: "2"}}]}}
  securityContext:
    runAsUser: 1000
    runAsGroup: 1001
    fsGroup: 2000
    supplementalGroups: [3000]
    sysctls: [{{name: net.ipv4.ip_unprivileged_port_start, value: "80"}}]
  initContainers:
  - name: first
    image: busybox
    command: [sh, -c, 'echo from-init > /work/file']
    volumeMounts: [{{name: work, mountPath: /work}}]
  - name: side
    image: busybox
    restartPolicy: Always
    command: [sh, -c, "{LOOP}"]
    startupProbe: {{exec: {{command: ["true"]}}, periodSeconds: 1}}
  containers:
  - name: main
    image: busybox
    command: [sh, -c, "{LOOP}"]
    securityContext: {{readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
    env:
    - {{name: A, value: one}}
    - {{name: B, value: $(A)-$(GONE)-$$(A)}}
    - {{name: CPU, valueFrom: {{resourceFieldRef: {{resource: limits.cpu, divisor: 1m}}}}}}
    - {{name: POD, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
    - {{name: PASS, valueFrom: {{secretKeyRef: {{name: login, key: password}}}}}}
    - name: NOPE
      valueFrom: {{configMapKeyRef: {{name: absent, key: x, optional: true}}}}
    envFrom: [{{prefix: CFG_, configMapRef: {{name: settings}}}}]
    resources: {{limits: {{cpu: 500m, memory: 64Mi}}}}
    lifecycle: {{postStart: {{exec: {{command: [sh, -c, "echo hook > /work/hook"]}}}}}}
    readinessProbe: {{exec: {{command: [test, -f, /work/file]}}, periodSeconds: 1}}
    volumeMounts:
    - {{name: work, mountPath: /work}}
    - {{name: all, mountPath: /all}}
    - {{name: memory, mountPath: /memory}}
    - {{name: config, mountPath: /etc/a.conf, subPath: a.conf}}
    - {{name: work, mountPath: /mine, subPathExpr: "of-$(POD)"}}
  volumes:
  - {{name: work, emptyDir: {{}}}}
  - {{name: memory, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}
  - {{name: config, configMap: {{name: settings}}}}
  - name: all
    projected:
      sources:
      - serviceAccountToken: {{path: token, audience: sts.example, expirationSeconds: 600}}
      - configMap: {{name: settings, items: [{{key: color, path: my/color}}]}}
      - secret: {{name: absent, optional: true}}
      - downwardAPI:
          items: [{{path: labels, fieldRef: {{fieldPath: metadata.labels}}}}]
"""


@pytest.fixture
def space(proa: Proa) -> Iterator[Proa]:
    proa.kubectl(f"create namespace {SPACE}")
    proa.kubectl(f"config set-context --current --namespace={SPACE}")
    yield proa
    proa.kubectl("config set-context --current --namespace=default")
    proa.kubectl(f"delete namespace {SPACE} --timeout=60s")


def pods(proa: Proa) -> dict[str, Any]:
    return {item["metadata"]["name"]: item for item in proa.objects("pods")}


def test_a_pod_has_all_that_its_manifest_says(space: Proa) -> None:
    space.apply(WHOLE)
    space.kubectl("wait pod/whole --for=condition=Ready --timeout=30s")

    def inside(command: str) -> str:
        return space.run(["kubectl", "exec", "whole", "-c", "main", "--", "sh", "-c", command],
                         ok=False).stdout.strip()  # fmt: skip

    values = dict(line.split("=", 1) for line in inside("env").splitlines())
    assert (values["B"], values["CPU"], values["POD"]) == ("one-$(GONE)-$(A)", "500", "whole")
    assert (values["PASS"], values["CFG_color"]) == ("s3cret", "blue")
    assert "NOPE" not in values and values["KUBERNETES_SERVICE_PORT"] == "443"
    assert inside("cat /work/file /work/hook /etc/a.conf /all/my/color") == (
        "from-init\nhook\nx=1blue"
    )
    assert inside("id -u; id -g; id -G").split() == ["1000", "1001", "1001", "2000", "3000"]
    assert inside("ls /work").split() == ["file", "hook", "of-whole"]
    assert "Read-only" in inside("touch /x 2>&1") and inside("touch /memory/x && echo ok") == "ok"
    names = inside("hostname; cat /etc/hosts /etc/resolv.conf")
    assert names.startswith("host\n")
    assert f"host.sub.{SPACE}.svc.cluster.local" in names and "nine.example" in names
    assert "ndots:2" in names and "example.com" in names
    assert inside("cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "80"
    assert "while true" in inside("ps | grep -c 'while true' > /dev/null; ps"), "one PID namespace"
    (whole,) = pods(space).values()
    assert whole["status"]["qosClass"] == "Burstable"
    assert [item["ready"] for item in whole["status"]["initContainerStatuses"]] == [True, True]
    assert whole["status"]["podIPs"] and whole["status"]["hostIPs"]
    held = {item["type"] for item in whole["status"]["conditions"] if item["status"] == "True"}
    assert held == {
        "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
    }  # fmt: skip
    _files_follow(space, inside)


def _files_follow(proa: Proa, inside: Any) -> None:
    """ConfigMaps and labels reach a running pod's files, but not what a subPath mounted."""
    proa.kubectl("""patch configmap settings -p '{"data":{"color":"green","a.conf":"x=2"}}'""")
    proa.kubectl("label pod whole more=yes")
    eventually(lambda: inside("cat /all/my/color") == "green", 10)
    eventually(lambda: 'more="yes"' in inside("cat /all/labels"), 10)
    assert inside("cat /etc/a.conf") == "x=1"
    claims = inside("cut -d. -f2 /all/token")
    assert json.loads(_base64(claims))["aud"] == ["sts.example"]


def _base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


ENDS = {
    "crash": "restartPolicy: Always\n  containers: [{name: c, image: busybox, "
    "command: [sh, -c, 'echo oops > /dev/termination-log; exit 3']}]",
    "first": "initContainers: [{name: i, image: busybox, command: ['false']}]\n"
    "  containers: [{name: c, image: busybox, command: [sleep, '99']}]",
    "over": "restartPolicy: Never\n  containers: [{name: c, image: busybox, command: ['true']}]",
    "late": "activeDeadlineSeconds: 2\n  terminationGracePeriodSeconds: 1\n"
    "  containers: [{name: c, image: busybox, command: [sleep, '99']}]",
    "eager": "restartPolicy: Never\n  containers: [{name: c, image: busybox, command: "
    "[sh, -c, 'x=a; while true; do x=$x$x; done'], resources: {limits: {memory: 16Mi}}}]",
    "unconfigured": "containers: [{name: c, image: busybox, env: [{name: X, valueFrom: "
    "{secretKeyRef: {name: gone, key: x}}}]}]",
    "unmounted": "containers: [{name: c, image: busybox}]\n"
    "  volumes: [{name: v, configMap: {name: gone}}]",
    "unfound": "containers: [{name: c, image: 'localhost:9/absent:1'}]",
    "claiming": "containers: [{name: c, image: busybox}]\n"
    "  volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]",
    "choosy": "containers: [{name: c, image: busybox}]\n  affinity: {nodeAffinity: "
    "{requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: "
    "[{key: metadata.name, operator: NotIn, values: [NODE]}]}]}}}",
    "wishing": "restartPolicy: Never\n  containers: [{name: c, image: busybox, "
    "command: ['true']}]\n  affinity: {nodeAffinity: "
    "{requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: "
    "[{key: kubernetes.io/os, operator: In, values: [linux]}, "
    "{key: no.such/label, operator: DoesNotExist}]}]}}}",
}
SHOWN = {
    "crash": ("CrashLoopBackOff", "Error"),
    "first": ("Init:CrashLoopBackOff", "Init:Error"),
    "over": ("Completed",),
    "late": ("Error", "DeadlineExceeded"),
    "eager": ("OOMKilled",),
    "unconfigured": ("CreateContainerConfigError",),
    "unmounted": ("ContainerCreating",),
    "unfound": ("ErrImagePull", "ImagePullBackOff"),
    "claiming": ("Pending",),
    "choosy": ("Pending",),
    "wishing": ("Completed",),
}


def test_pods_end_and_wait_in_the_kubelets_and_the_schedulers_words(space: Proa) -> None:
    node = space.objects("nodes")[0]["metadata"]["name"]
    documents = (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n"
        for name, spec in ENDS.items()
    )
    space.apply("---\n".join(documents).replace("NODE", node))

    def shown() -> dict[str, str]:
        lines = space.kubectl("get pods --no-headers").splitlines()
        return {line.split()[0]: line.split()[2] for line in lines}

    eventually(lambda: all(shown()[name] in words for name, words in SHOWN.items()), 30, shown)
    found = pods(space)
    assert found["late"]["status"]["reason"] == "DeadlineExceeded"
    last = found["crash"]["status"]["containerStatuses"][0]
    ended = (last["lastState"] or last["state"])["terminated"]
    assert (ended["exitCode"], ended["message"].strip()) == (3, "oops")
    events = {
        (item["involvedObject"]["name"], item["reason"]): item for item in space.objects("events")
    }
    preemption = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    assert events["claiming", "FailedScheduling"]["message"] == (
        f'0/1 nodes are available: persistentvolumeclaim "data" not found. {preemption}'
    )
    assert events["choosy", "FailedScheduling"]["message"] == (
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
        f"{preemption}"
    )
    assert 'configmap "gone" not found' in events["unmounted", "FailedMount"]["message"]
    assert events["unconfigured", "Failed"]["message"] == 'Error: secret "gone" not found'
    assert events["crash", "Started"]["involvedObject"]["fieldPath"] == "spec.containers{c}"
    assert events["crash", "Started"]["source"]["component"] == "kubelet"
    eventually(lambda: "(x" in space.kubectl("describe pod crash"), 20)
    space.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: gone}\n")
    eventually(lambda: "Running" in shown()["unmounted"] or shown()["unmounted"] in
               ("Completed", "CrashLoopBackOff"), 20)  # fmt: skip


def test_a_hook_that_sleeps_holds_up_the_end(space: Proa) -> None:
    space.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: slow}\nspec:\n"
        "  terminationGracePeriodSeconds: 20\n"
        f'  containers: [{{name: c, image: busybox, command: [sh, -c, "{LOOP}"],\n'
        "    lifecycle: {preStop: {sleep: {seconds: 4}}}}]\n"
    )
    space.kubectl("wait pod/slow --for=condition=Ready --timeout=30s")
    space.kubectl("delete pod slow --wait=false")
    assert pods(space)["slow"]["metadata"]["deletionTimestamp"]
    space.kubectl("exec slow -- true")  # without the hook its container would be gone
    space.kubectl("wait pod/slow --for=delete --timeout=30s")
