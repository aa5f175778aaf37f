"""Random task definitions of the model's shapes are answered or refused, never fallen over."""

from __future__ import annotations

from typing import Any

import botocore.session
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proa.aws.ecs import launch, runnable, taskdef, taskdef_rules
from proa.aws.ecs.compile import compile_task
from proa.aws.ecs.records import ContainerAddress, Task, TaskDefinition, TaskInterface
from proa.aws.gateway.service import AwsError
from proa.base.chance import Chance

MODEL = botocore.session.get_session().get_service_model("ecs")
SHAPE = MODEL.operation_model("RegisterTaskDefinition").input_shape
TEXTS = st.sampled_from(
    ["a", "b", "web", "", "/x", "a:b", "80-90", "90-80", "²", "1 vCPU", "256", "512", "-1", "0",
     "awsvpc", "arn:aws:s3:::b/x.env", "arn:aws:ssm:us-east-1:000000000000:parameter/x",
     "net.core.somaxconn", "CMD", "no-new-privileges", "memberOf", "attribute:a == b", "x" * 300]
)  # fmt: skip
NUMBERS = st.sampled_from([-1, 0, 1, 2, 5, 6, 30, 64, 80, 256, 65_535, 65_536, 2**31 - 1])


def values(shape: Any) -> st.SearchStrategy[Any]:
    """What the gateway lets through for a shape: right types, known enumeration members."""
    match shape.type_name:
        case "structure":
            members = {name: values(member) for name, member in shape.members.items()}
            required = {name: members.pop(name) for name in shape.required_members}
            return st.fixed_dictionaries(required, optional=members)
        case "list":
            return st.lists(values(shape.member), max_size=2)
        case "map":
            return st.dictionaries(TEXTS, values(shape.value), max_size=2)
        case "boolean":
            return st.booleans()
        case "string":
            return st.sampled_from(shape.enum) if shape.enum else TEXTS
    return NUMBERS


SOUND_CONTAINER = {"image": st.just("busybox"), "memory": st.just(64)}


def containers() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Mostly sound containers with a few random members each, so that deep rules are reached."""
    members = MODEL.shape_for("ContainerDefinition").members
    some = st.lists(st.sampled_from(sorted(members)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: values(members[name]) for name in names})
    )
    return st.lists(some, min_size=1, max_size=3).map(
        lambda found: [
            {"name": name, "image": "busybox", "memory": 64, **item}
            for name, item in zip("abc", found, strict=False)
        ]
    )


def requests() -> st.SearchStrategy[dict[str, Any]]:
    members = SHAPE.members
    some = st.lists(st.sampled_from(sorted(members)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: values(members[name]) for name in names})
    )
    return st.builds(
        lambda more, given: {"family": "f", **more, "containerDefinitions": given},
        some,
        containers(),
    )


@settings(max_examples=100, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
@given(requests())
def test_a_random_definition_is_refused_or_compiled(request: dict[str, Any]) -> None:
    try:
        taskdef_rules.check(request)
    except AwsError as error:
        assert error.code in ("ClientException", "InvalidParameterException")
        return
    definition = TaskDefinition("1", "us-east-1", "f", 1, taskdef.document_of(request))
    if runnable.unsupported(definition):
        return
    for launch_type in ("EC2", "FARGATE"):
        if launch_type in definition.document["compatibilities"]:
            sandbox = compile_task(bound(definition, launch_type), definition, {})
            assert len(sandbox.containers) == len(definition.containers)


def bound(definition: TaskDefinition, launch_type: str) -> Task:
    """A task of the definition as it would be on an Instance."""
    task = Task("1", "us-east-1", "default", "abc", "f", 1, launch_type, instance="i-1")
    task = launch.draft(task, definition, Chance("t"))
    interface = TaskInterface("eni", "a", "s", "z", "vpc", "10.0.0.1")
    if task.network_mode == "awsvpc":
        return msgspec.structs.replace(task, interface=interface)
    if task.network_mode != "bridge":
        return task
    address = ContainerAddress("vpc", "10.0.0.2", "02:00:00:00:00:02")
    return msgspec.structs.replace(
        task,
        containers=tuple(
            msgspec.structs.replace(item, address=address) for item in task.containers
        ),
    )
