"""Objects that a controller creates together: with what tells of them, up to the first refusal."""

from __future__ import annotations

import pytest

from proa.dispatch.skin import Parts
from proa.kube.api.call import ApiError, Call
from proa.store.api import Guard, Put
from tests.unit.kube.api.served import DEFAULT, Client, pod, said, serving

PODS = f"{DEFAULT}/pods"
Child = tuple[Call, tuple[Parts, ...]]


def child(name: str, **spec: object) -> Child:
    body = pod(name)
    body["spec"].update(spec)
    key = f"/told/{name}"
    note = Parts((Guard(key, 0),), (Put(key, b"{}"),))
    return Call("c1", "create", "", "pods", "default", name, body=body), (note,)


async def names(client: Client) -> list[str]:
    found = said(await client.ask("GET", PODS))["items"]
    return [item["metadata"]["name"] for item in found]


async def told(client: Client) -> list[str]:
    page = await client.api.api.store.range("/told/")
    return [record.key.rpartition("/")[2] for record in page.records]


def test_many_are_there_with_what_tells_of_each_in_one_version() -> None:
    async def check(client: Client) -> None:
        version = await client.api.create_all([child("a"), child("b"), child("c")])
        assert await names(client) == await told(client) == ["a", "b", "c"]
        items = said(await client.ask("GET", PODS))["items"]
        versions = [int(item["metadata"]["resourceVersion"]) for item in items]
        assert max(versions) <= version and max(versions) >> 8 == min(versions) >> 8

    serving(check)


def test_those_before_a_refusal_stay_and_those_after_it_never_come() -> None:
    async def check(client: Client) -> None:
        children = [child("a"), child("b", priorityClassName="none"), child("c")]
        with pytest.raises(ApiError, match="no PriorityClass with name none"):
            await client.api.create_all(children)
        assert await names(client) == await told(client) == ["a"]

    serving(check)


def test_one_that_is_there_already_is_not_told_of_again() -> None:
    async def check(client: Client) -> None:
        await client.make(PODS, pod("a"))
        await client.api.create_all([child("a"), child("b")])
        assert await names(client) == ["a", "b"]
        assert await told(client) == ["b"]

    serving(check)
