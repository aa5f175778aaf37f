"""Jobs, CronJobs and Services from outside, with real containers and the real kubectl."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import Proa, eventually, fetch

SPACE = "workloads"
JOBS = """
apiVersion: batch/v1
kind: Job
metadata: {name: indexed}
spec:
  completions: 3
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: c, image: busybox, command: [sh, -c, 'echo "$JOB_COMPLETION_INDEX $(hostname)"']}
---
apiVersion: batch/v1
kind: Job
metadata: {name: failing}
spec:
  backoffLimit: 0
  ttlSecondsAfterFinished: 3
  template:
    spec: {restartPolicy: Never, containers: [{name: c, image: busybox, command: ["false"]}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: judged}
spec:
  podFailurePolicy:
    rules: [{action: FailJob, onExitCodes: {operator: In, values: [42]}}]
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: busybox, command: [sh, -c, exit 42]}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "0 0 1 1 *"
  timeZone: Europe/Berlin
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: OnFailure
          containers: [{name: c, image: busybox, command: [echo, tick]}]
"""
CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: busybox, command: [sleep, "600"]}]
"""


@pytest.fixture
def space(proa: Proa) -> Iterator[Proa]:
    proa.kubectl(f"create namespace {SPACE}")
    proa.kubectl(f"config set-context --current --namespace={SPACE}")
    yield proa
    proa.kubectl("config set-context --current --namespace=default")
    proa.kubectl(f"delete namespace {SPACE} --timeout=60s")


def test_jobs_run_to_their_ends(space: Proa) -> None:
    space.apply(JOBS)
    space.kubectl("create job by-hand --from=cronjob/tick")
    space.kubectl("wait job/indexed job/by-hand --for=condition=Complete --timeout=60s")
    lines = space.kubectl("logs -l batch.kubernetes.io/job-name=indexed --tail=-1").split("\n")
    assert sorted(filter(None, lines)) == [f"{number} indexed-{number}" for number in range(3)]
    assert space.kubectl("logs job/by-hand").strip() == "tick"
    row = space.kubectl("get job indexed --no-headers").split()
    assert row[:3] == ["indexed", "Complete", "3/3"]
    described = space.kubectl("describe job indexed")
    assert "Completed Indexes:  0-2" in described and "Job completed" in described
    space.kubectl("wait job/judged --for=condition=Failed --timeout=60s")
    (judged,) = (item for item in space.objects("jobs") if item["metadata"]["name"] == "judged")
    failed = next(item for item in judged["status"]["conditions"] if item["type"] == "Failed")
    assert failed["reason"] == "PodFailurePolicy"
    assert "exit code 42 matching FailJob rule at index 0" in failed["message"]
    eventually(lambda: "failing" not in space.kubectl("get jobs -o name"), 30)
    assert "job-name=failing" not in space.kubectl("get pods --show-labels")
    space.kubectl("delete job indexed by-hand judged --timeout=60s")
    eventually(lambda: not space.objects("pods"), 20)


def test_services_are_reached_from_outside(space: Proa) -> None:
    space.kubectl("create deployment web --image=nginx --replicas=2")
    space.kubectl("expose deployment web --type=NodePort --port=80")
    space.kubectl("expose deployment web --name=balanced --type=LoadBalancer --port=18080 "
                  "--target-port=80")  # fmt: skip
    space.kubectl("rollout status deployment/web --timeout=60s")
    services = {item["metadata"]["name"]: item for item in space.objects("services")}
    port = services["web"]["spec"]["ports"][0]["nodePort"]
    addresses = space.objects("nodes")[0]["status"]["addresses"]
    node = next(item["address"] for item in addresses if item["type"] == "InternalIP")
    for url in (f"http://{node}:{port}", f"http://127.0.0.1:{port}", f"http://{node}:18080"):
        eventually(lambda url=url: "nginx" in fetch(url), 10)  # type: ignore[misc]
    row = space.kubectl("get service balanced --no-headers").split()
    assert row[1] == "LoadBalancer" and row[3] == node
    taken = space.run(
        ["kubectl", "create", "service", "nodeport", "two", "--tcp=80", f"--node-port={port}"],
        ok=False,
    )
    assert "provided port is already allocated" in taken.stderr
    space.apply(CLIENT)
    space.kubectl("wait pod/client --for=condition=Ready --timeout=30s")
    assert "nginx" in space.kubectl(f"exec client -- wget -qO- http://{node}:{port}").lower()
    space.kubectl("delete service web balanced")
    with pytest.raises(OSError):
        eventually(lambda: fetch(f"http://{node}:{port}", 2) == "", 10)


def test_a_client_stays_with_its_pod_while_that_lives(space: Proa) -> None:
    space.apply(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: who}\nspec:\n  replicas: 3\n"
        "  selector: {matchLabels: {app: who}}\n  template:\n"
        "    metadata: {labels: {app: who}}\n    spec:\n      terminationGracePeriodSeconds: 1\n"
        "      containers:\n      - name: c\n        image: busybox\n"
        "        command: [sh, -c, 'mkdir /w; hostname > /w/index.html; httpd -f -p 80 -h /w']\n"
        "        ports: [{name: web, containerPort: 80}]\n"
    )
    space.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: who}\nspec:\n"
        "  selector: {app: who}\n  sessionAffinity: ClientIP\n"
        "  ports: [{name: http, port: 8000, targetPort: web}]\n"
    )
    space.kubectl("rollout status deployment/who --timeout=60s")
    space.apply(CLIENT)
    space.kubectl("wait pod/client --for=condition=Ready --timeout=30s")

    def asked(times: int) -> set[str]:
        loop = f"for i in $(seq {times}); do wget -qO- http://who:8000; done"
        return set(space.run(["kubectl", "exec", "client", "--", "sh", "-c", loop]).stdout.split())

    eventually(lambda: len(space.objects("endpointslices")[0]["endpoints"]) == 3, 10)
    (mine,) = asked(10)
    space.kubectl("scale deployment/who --replicas=4")
    space.kubectl("rollout status deployment/who --timeout=60s")
    assert asked(10) == {mine}
    space.kubectl(f"delete pod {mine}")
    (other,) = eventually(lambda: asked(3) - {mine}, 20)
    assert asked(5) == {other}


SETS = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: nginx}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: nginx, ports: [{containerPort: 80, hostPort: 18088}]}]
"""


def test_sets_keep_their_names_and_nodes_over_updates(space: Proa) -> None:
    space.apply(SETS)
    space.kubectl("rollout status statefulset/db --timeout=60s")
    space.kubectl("rollout status daemonset/agent --timeout=60s")
    page = space.kubectl("exec db-0 -- wget -qO- http://db-1.db")
    assert "nginx" in page.lower()
    assert "nginx" in fetch("http://127.0.0.1:18088").lower()
    space.kubectl("set env statefulset/db daemonset/agent COLOR=blue")
    space.kubectl("rollout status statefulset/db --timeout=60s")
    space.kubectl("rollout status daemonset/agent --timeout=60s")
    assert "COLOR=blue" in space.kubectl("exec db-1 -- env")
    assert len(space.kubectl("rollout history statefulset/db").splitlines()) >= 4
    space.kubectl("rollout undo daemonset/agent")
    space.kubectl("rollout status daemonset/agent --timeout=60s")
    assert "COLOR" not in space.kubectl("exec ds/agent -- env")
    names = {item["metadata"]["name"] for item in space.objects("pods -l app=db")}
    assert names == {"db-0", "db-1"}
