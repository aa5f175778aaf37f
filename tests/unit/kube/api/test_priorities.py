"""A pod's priority comes from its class, from the default class, or is 0."""

from __future__ import annotations

import pytest

from tests.unit.kube.api.served import DEFAULT, Client, Json, pod, said, serving

CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
PODS = f"{DEFAULT}/pods"


def priority_class(name: str, value: int, **more: object) -> Json:
    return {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": value,
            "metadata": {"name": name}, **more}  # fmt: skip


def prioritised(name: str, **spec: object) -> Json:
    body = pod(name)
    body["spec"].update(spec)
    return body


def test_the_class_gives_number_and_policy() -> None:
    async def check(client: Client) -> None:
        await client.make(CLASSES, priority_class("high", 1000, preemptionPolicy="Never"))
        made = await client.make(PODS, prioritised("a", priorityClassName="high"))
        assert (made["spec"]["priority"], made["spec"]["preemptionPolicy"]) == (1000, "Never")
        assert (await client.make(PODS, pod("b")))["spec"]["priority"] == 0
        await client.make(CLASSES, priority_class("usual", 7, globalDefault=True))
        made = await client.make(PODS, pod("c"))
        assert (made["spec"]["priority"], made["spec"]["priorityClassName"]) == (7, "usual")

    serving(check)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"priorityClassName": "none"}, "no PriorityClass with name none was found"),
        ({"priority": 5}, "the integer value of priority (5) must not be provided in pod spec"),
        ({"preemptionPolicy": "Never"}, "the string value of PreemptionPolicy (Never)"),
    ],
)
def test_a_pod_does_not_give_itself_a_priority(spec: Json, text: str) -> None:
    async def check(client: Client) -> None:
        answer = await client.ask("POST", PODS, prioritised("a", **spec))
        assert answer.status == 403
        assert text in said(answer)["message"]
        assert (await client.ask("GET", f"{PODS}/a")).status == 404

    serving(check)
