"""The ECS lab of the second article, section 10, step by step, with the real AWS CLI."""

from __future__ import annotations

import json
import subprocess
import time

from tests.live import SEEDS, Proa, eventually, fetch

LAB = SEEDS / "002"


def test_lab_runs_from_cluster_to_tear_down(proa: Proa) -> None:
    def step(name: str) -> str:
        return (LAB / name).read_text()

    prepare = step("1-cluster-and-roles.sh") + step("2-register.sh") + step("3-run.sh")
    proa.run(prepare, timeout_s=120)
    task = eventually(lambda: running_task(proa), what="the task runs")
    address = next(
        detail["value"]
        for detail in task["attachments"][0]["details"]
        if detail["name"] == "privateIPv4Address"
    )
    assert "nginx" in fetch(f"http://{address}/").lower()

    shown = proa.run(step("4-inspect.sh").split("# Logs land")[0]).stdout
    assert '"status": "RUNNING"' in shown and '"name": "web"' in shown
    assert "GET / HTTP/1.1" in followed_logs(proa, address)

    proa.run(step("5-tear-down.sh").splitlines()[0])
    eventually(lambda: not proa.aws("ecs list-tasks --cluster lab-cluster")["taskArns"])
    stopped = proa.aws("ecs list-tasks --cluster lab-cluster --desired-status STOPPED")["taskArns"]
    eventually(lambda: last_status(proa, stopped[0]) == "STOPPED", what="the task has stopped")
    ended = proa.aws(f"ecs describe-tasks --cluster lab-cluster --tasks {stopped[0]}")["tasks"][0]
    assert ended["stopCode"] == "UserInitiated"
    assert ended["containers"][0]["exitCode"] == 0
    proa.run("\n".join(step("5-tear-down.sh").splitlines()[1:]))
    assert proa.aws("logs describe-log-groups --log-group-name-prefix /ecs/lab")["logGroups"] == []


def running_task(proa: Proa) -> dict | None:
    arns = proa.aws("ecs list-tasks --cluster lab-cluster")["taskArns"]
    if not arns:
        return None
    task = proa.aws(f"ecs describe-tasks --cluster lab-cluster --tasks {arns[0]}")["tasks"][0]
    return task if task["lastStatus"] == "RUNNING" else None


def last_status(proa: Proa, arn: str) -> str:
    tasks = proa.aws(f"ecs describe-tasks --cluster lab-cluster --tasks {arn}")["tasks"]
    return tasks[0]["lastStatus"]


def followed_logs(proa: Proa, address: str) -> str:
    """What ``aws logs tail --follow`` prints of a request made after it has started."""
    follow = subprocess.Popen(
        ["aws", "logs", "tail", "/ecs/lab", "--follow", "--since", "5m"],
        env={**proa.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        time.sleep(2)
        fetch(f"http://{address}/")
        lines: list[str] = []
        assert follow.stdout is not None
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            line = follow.stdout.readline()
            lines.append(line)
            if sum("GET /" in text for text in lines) >= 2:
                break
        return "".join(lines)
    finally:
        follow.kill()
        follow.communicate()


def test_third_articles_service_runs_in_its_own_region(proa: Proa) -> None:
    folder = SEEDS / "003"
    script = (folder / "fixtures.sh").read_text() + (folder / "ecs-flow.sh").read_text()
    proa.run(script, cwd=folder, timeout_s=120)
    region = "--region ap-northeast-2 --cluster my-cluster"
    proa.aws(f"ecs wait services-stable {region} --services web-service", timeout_s=120)
    service = proa.aws(f"ecs describe-services {region} --services web-service")["services"][0]
    assert (service["runningCount"], service["desiredCount"]) == (2, 2)
    assert service["deployments"][0]["taskDefinition"].endswith("task-definition/web-app:1")
    proa.aws(f"ecs delete-service {region} --service web-service --force")
    eventually(lambda: not proa.aws(f"ecs list-tasks {region}")["taskArns"])


def test_task_definition_of_the_third_article_is_refused_as_it_was_printed(proa: Proa) -> None:
    printed = json.loads((SEEDS / "003" / "task-definition.json").read_text())
    del printed["executionRoleArn"]
    refused = proa.run(
        ["aws", "ecs", "register-task-definition", "--cli-input-json", json.dumps(printed)],
        ok=False,
    )
    assert refused.returncode != 0
    assert "execution role ARN to support log driver awslogs" in refused.stderr
