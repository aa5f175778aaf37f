"""Workloads under the API of ECS, drawn from chance. Part of ``fuzz``, which see."""

from __future__ import annotations

from proa.sim.fuzz_desk import Desk, Json


def _definition(desk: Desk, family: str, mode: str, image: str, port: bool = False) -> None:
    chance = desk.chance
    container: Json = {"name": family, "image": image, "essential": True, "memory": 128}
    if chance.random() < 0.25:
        container["healthCheck"] = {"command": ["CMD", "true"], "interval": 5, "retries": 2}
    if port:
        container["portMappings"] = [{"containerPort": 80, "hostPort": 9000 + desk.number}]
    given: Json = {"family": family, "networkMode": mode, "containerDefinitions": [container]}
    if chance.random() < 0.2:
        side = desk.image(f"side-{family}", runs_s=chance.choice([None, 2.0]))
        given["containerDefinitions"].append(
            {"name": "side", "image": side, "essential": False, "memory": 64}
        )
        container["dependsOn"] = [{"containerName": "side", "condition": "START"}]
    if mode == "awsvpc":
        given |= {"cpu": "256", "memory": "512"}
        given["requiresCompatibilities"] = ["EC2", "FARGATE"]
    desk.ecs("RegisterTaskDefinition", given)


def _network() -> Json:
    return {"awsvpcConfiguration": {"subnets": ["${default-subnet}"]}}


def _service(desk: Desk) -> None:
    chance, name = desk.chance, f"api-{desk.number}"
    mode = chance.choice(["awsvpc", "awsvpc", "bridge", "host"])
    port = mode == "bridge" and chance.random() < 0.4
    most = 1 if port else 3  # of which each needs a host of its own
    _definition(desk, name, mode, desk.image(name), port)
    desk.later()
    given: Json = {
        "serviceName": name,
        "taskDefinition": name,
        "desiredCount": chance.integer(0, most),
        "clientToken": name,
    }
    if port:
        given["deploymentConfiguration"] = {"minimumHealthyPercent": 0, "maximumPercent": 100}
    elif chance.random() < 0.5:
        low, high = chance.choice([(100, 200), (50, 200), (0, 100), (0, 200)])
        given["deploymentConfiguration"] = {
            "minimumHealthyPercent": low,
            "maximumPercent": high,
        }
    if mode == "awsvpc":
        given["networkConfiguration"] = _network()
        given["launchType"] = chance.choice(["EC2", "FARGATE"])
    if chance.random() < 0.2:
        given.setdefault("deploymentConfiguration", {})["deploymentCircuitBreaker"] = {
            "enable": True,
            "rollback": True,
        }
    desk.ecs("CreateService", given)
    for _ in range(chance.integer(0, 2)):
        desk.later()
        if chance.random() < 0.5:
            change = {"service": name, "desiredCount": chance.integer(0, most)}
            desk.ecs("UpdateService", change)
        else:
            _definition(desk, name, mode, desk.image(name), port)
            desk.ecs("UpdateService", {"service": name, "taskDefinition": name})
    if chance.random() < 0.2:
        desk.later()
        desk.ecs("DeleteService", {"service": name, "force": True})
        if chance.random() < 0.4:
            desk.later()
            again = {**given, "clientToken": f"{name} again"}
            desk.ecs("CreateService", again, refusals=[400])  # it may still be draining


def _tasks(desk: Desk) -> None:
    chance, name = desk.chance, f"run-{desk.number}"
    mode = chance.choice(["awsvpc", "bridge", "none"])
    _definition(desk, name, mode, desk.image(name, runs_s=chance.choice([1.0, 6.0, 15.0])))
    desk.later()
    given: Json = {
        "taskDefinition": name,
        "count": chance.integer(1, 3),
        "clientToken": name,
        "startedBy": name,
    }
    if mode == "awsvpc":
        given["networkConfiguration"] = _network()
        given["launchType"] = chance.choice(["EC2", "FARGATE"])
    desk.ecs("RunTask", given, refusals=["No Container Instances"])  # none has come, or stayed


MAKERS = (_service, _service, _service, _tasks, _tasks)
