"""What neither API alone has: an ECS task calls a Kubernetes Service by its name."""

from __future__ import annotations

import json

from tests.live import Proa


def test_a_task_calls_a_kubernetes_service_by_its_name(proa: Proa) -> None:
    proa.kubectl("create deployment both --image=nginx:alpine --port=80")
    proa.kubectl("expose deployment both --port=80")
    proa.kubectl("rollout status deployment/both --timeout=60s")
    command = "wget -qO- http://both.default.svc.cluster.local | grep -q 'Welcome to nginx'"
    containers = [
        {"name": "main", "image": "busybox", "memory": 32, "command": ["sh", "-c", command]}
    ]
    ecs = proa.boto("ecs")
    ecs.register_task_definition(family="both", networkMode="awsvpc", cpu="256", memory="512",
                                 requiresCompatibilities=["FARGATE"],
                                 containerDefinitions=containers)  # fmt: skip
    (subnet, *_) = proa.boto("ec2").describe_subnets()["Subnets"]
    network = {"awsvpcConfiguration": {"subnets": [subnet["SubnetId"]]}}
    started = ecs.run_task(taskDefinition="both", launchType="FARGATE",
                           networkConfiguration=network)["tasks"]  # fmt: skip
    arn = started[0]["taskArn"]
    ecs.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig={"Delay": 1})
    (task,) = ecs.describe_tasks(tasks=[arn])["tasks"]
    assert task["containers"][0]["exitCode"] == 0, json.dumps(task, default=str)
