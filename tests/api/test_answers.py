"""``proa why``, ``proa watch`` and ``proa env --write`` over a running Proa."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import PROA, VENV, Proa, eventually

SPACE = "answers"
PODS = """
apiVersion: v1
kind: Namespace
metadata: {name: answers}
---
apiVersion: v1
kind: Pod
metadata: {name: huge, namespace: answers}
spec:
  nodeSelector: {disk: ssd}
  containers:
  - {name: main, image: nginx, resources: {requests: {memory: 900Ti}}}
---
apiVersion: v1
kind: Pod
metadata: {name: unset, namespace: answers}
spec:
  containers:
  - {name: main, image: nginx, envFrom: [{secretRef: {name: nope}}]}
---
apiVersion: v1
kind: Service
metadata: {name: lonely, namespace: answers}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
"""


@pytest.fixture(scope="module", autouse=True)
def _pods(proa: Proa) -> Iterator[None]:
    proa.apply(PODS)
    yield
    proa.kubectl(f"delete namespace {SPACE} --wait=false")


def why(proa: Proa, subject: str, *flags: str) -> list[dict[str, Any]]:
    done = proa.run([str(PROA), "why", subject, "--json", *flags], ok=False)
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    assert done.returncode == (0 if answer else 1)
    return answer


def test_why_names_everything_that_an_instance_lacks_for_a_waiting_pod(proa: Proa) -> None:
    (report,) = eventually(lambda: why(proa, "pod/huge", "-n", SPACE))
    (instance,) = report["instances"]
    text = "; ".join(instance["lacks"])
    assert "does not meet disk=ssd" in text
    assert "921600.0 GiB of memory asked for" in text
    assert any("kubectl label node" in line for line in report["advice"])
    assert report["state"] == "Pending"


def test_why_names_the_secret_that_a_container_waits_for(proa: Proa) -> None:
    def told() -> bool:
        (report,) = why(proa, f"{SPACE}/unset")
        return any('secret "nope" not found' in line for line in report["because"])

    eventually(told)


def test_why_says_that_a_service_selects_no_pod(proa: Proa) -> None:
    (report,) = why(proa, "service/lonely", "-n", SPACE)
    assert report["because"] == ["no pod of its namespace carries app=nobody"]


def test_why_explains_how_a_task_ended_by_any_of_its_names(proa: Proa) -> None:
    proa.aws(
        "ecs register-task-definition --family answers --container-definitions "
        '\'[{"name":"main","image":"busybox","memory":32,"command":["sh","-c","exit 127"]}]\''
    )
    task = proa.aws("ecs run-task --task-definition answers")["tasks"][0]["taskArn"]
    proa.aws(f"ecs wait tasks-stopped --tasks {task}")
    for name in (task, task.rsplit("/", 1)[1], task.rsplit("/", 1)[1][:8]):
        (report,) = why(proa, name)
        assert report["state"] == "STOPPED"
        assert any("exit code 127: the command was not found" in line for line in report["because"])


def test_why_tells_what_is_left_on_a_node_and_who_holds_it(proa: Proa) -> None:
    (node,) = proa.objects("nodes")
    (report,) = why(proa, node["metadata"]["name"])
    facts = "\n".join(report["facts"])
    assert "vCPU left of" in facts
    assert f"held by {SPACE}/unset" in facts


def test_why_of_nothing_known_says_so(proa: Proa) -> None:
    done = proa.run([str(PROA), "why", "nobody-is-called-so"], ok=False)
    assert done.returncode == 1
    assert done.stderr == "proa: no task, pod, node or service is called 'nobody-is-called-so'\n"


def test_watch_in_a_pipe_prints_each_change_as_a_line(proa: Proa) -> None:
    present = proa.run([str(PROA), "watch", "--once"]).stdout
    assert f"pod {SPACE}/huge: Pending" in present
    lines = proa.run(
        f"timeout 8 {PROA} watch > $HOME/watched & sleep 1;"
        f"kubectl -n {SPACE} delete pod unset --now >/dev/null;"
        "for i in $(seq 70); do grep -q gone $HOME/watched && break; sleep 0.1; done;"
        "kill %1; cat $HOME/watched"
    ).stdout
    assert f"pod {SPACE}/unset: gone" in lines


def test_env_write_gives_the_clients_a_context_and_a_profile(proa: Proa, tmp_path: Path) -> None:
    proa.run(f"HOME={tmp_path} {PROA} env --write")
    bare = f"env -i HOME={tmp_path} PATH={VENV / 'clients'}:/usr/bin:/bin"
    assert "Ready" in proa.run(f"{bare} kubectl --context proa get nodes").stdout
    answer = proa.run(f"{bare} aws --profile proa sts get-caller-identity").stdout
    assert json.loads(answer)["Arn"].endswith(":root")
