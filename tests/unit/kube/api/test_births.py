"""Objects that a controller creates together: with what tells of them, up to the first refusal."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from proa.base.clock import iso8601
from proa.base.errors import Conflict
from proa.dispatch.skin import Parts
from proa.kube.api.call import ApiError, Call
from proa.kube.decoding import decoder
from proa.kube.objects import Pod
from proa.kube.tables import PODS as TABLE
from proa.store.api import Guard, Put, Transaction
from tests.unit.kube.api.served import DEFAULT, Client, pod, said, serving
from tests.unit.kube.api.test_own_writes import replica_set

CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
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


def of_template(name: str, **spec: object) -> Child:
    call, _ = child(name, **spec)
    call.body["metadata"] |= {"generateName": "web-", "labels": {"app": "web"}}
    return call, ()


def test_pods_of_one_template_are_alike_but_for_what_is_drawn_for_each() -> None:
    async def check(client: Client) -> None:
        await client.api.create_all([of_template("web-aaaaa"), of_template("web-bbbbb")])
        await asyncio.sleep(60)
        await client.api.create_all([of_template("web-ccccc")])
        await client.make(PODS, of_template("web-ddddd")[0].body)
        items = said(await client.ask("GET", PODS))["items"]
        assert [item["metadata"]["name"][-1] for item in items] == ["a", "b", "c", "d"]
        volumes = [item["spec"]["volumes"][-1]["name"] for item in items]
        uids = [item["metadata"]["uid"] for item in items]
        assert len(set(uids)) == 4
        assert len(set(volumes[:3])) == 1 and volumes[3] != volumes[0]  # twins share its name
        a, b, c, d = (item["metadata"]["creationTimestamp"] for item in items)
        assert a == b < c == d
        for row in client.api.api.view.rows(TABLE).scan():  # also of the copies
            assert row.value == decoder(Pod)(row.body)
        shapes = {text_of(item, item["spec"]["volumes"][-1]["name"]) for item in items}
        assert len(shapes) == 1

    serving(check)


def text_of(item: dict[str, object], volume: str) -> str:
    """A pod without what differs between those of one template, and without who wrote it."""
    metadata = dict(item["metadata"])  # type: ignore[call-overload]
    for name in ("name", "uid", "creationTimestamp", "resourceVersion"):
        metadata.pop(name)
    for entry in metadata["managedFields"]:
        entry["time"] = entry["manager"] = ""
    return orjson.dumps({**item, "metadata": metadata}).decode().replace(volume, "")


def test_what_admission_adds_is_not_taken_from_an_earlier_pod_once_it_changes() -> None:
    async def check(client: Client) -> None:
        await client.api.create_all([of_template("web-aaaaa")])
        usual = {"value": 7, "globalDefault": True, "metadata": {"name": "usual"}}
        await client.make(CLASSES, {"kind": "PriorityClass", **usual})
        await client.api.create_all([of_template("web-bbbbb"), of_template("web-ccccc")])
        items = said(await client.ask("GET", PODS))["items"]
        assert [item["spec"]["priority"] for item in items] == [0, 7, 7]

    serving(check)


def test_what_admission_looks_at_is_looked_up_anew_once_anything_changes() -> None:
    async def check(client: Client) -> None:
        spec = pod("x")["spec"]

        def of_one_spec(name: str) -> Child:
            call, _ = of_template(name)
            call.body["spec"] = spec
            return call, ()

        await client.api.create_all([of_one_spec("web-aaaaa")])
        usual = {"value": 7, "globalDefault": True, "metadata": {"name": "usual"}}
        await client.make(CLASSES, {"kind": "PriorityClass", **usual})
        await client.api.create_all([of_one_spec("web-bbbbb")])
        await client.ask("DELETE", f"{CLASSES}/usual")
        await client.api.create_all([of_one_spec("web-ccccc")])
        items = said(await client.ask("GET", PODS))["items"]
        assert [item["spec"]["priority"] for item in items] == [0, 7, 0]

    serving(check)


def test_what_a_template_says_of_the_second_in_which_its_first_pod_is_made_stays() -> None:
    async def check(client: Client) -> None:
        def restarted(name: str) -> Child:
            call, _ = of_template(name)
            call.body["metadata"]["annotations"] = {"example.com/restartedAt": at}
            return call, ()

        at = iso8601(client.api.api.clock.now())
        await client.api.create_all([restarted("web-aaaaa")])
        await asyncio.sleep(60)
        await client.api.create_all([restarted("web-bbbbb")])
        items = said(await client.ask("GET", PODS))["items"]
        notes = [item["metadata"]["annotations"]["example.com/restartedAt"] for item in items]
        assert notes == [at, at]
        created = [item["metadata"]["creationTimestamp"] for item in items]
        assert created[0] == at < created[1]
        assert len({item["spec"]["volumes"][-1]["name"] for item in items}) == 1  # they are twins

    serving(check)


def test_pod_whose_template_holds_its_own_marks_is_prepared_for_itself() -> None:
    async def check(client: Client) -> None:
        hint = {"nodeSelector": {"first": "web-aaaaa"}}
        await client.api.create_all([of_template("web-aaaaa", **hint)])
        await client.api.create_all([of_template("web-bbbbb", **hint)])
        items = said(await client.ask("GET", PODS))["items"]
        assert [item["spec"]["nodeSelector"]["first"] for item in items] == ["web-aaaaa"] * 2

    serving(check)


@pytest.mark.parametrize("count", [2, 60])
def test_what_is_to_be_said_of_them_is_said_only_when_all_are_there(count: int) -> None:
    async def check(client: Client) -> None:
        home = "/apis/apps/v1/namespaces/default/replicasets"
        owner = (await client.make(home, replica_set("web")))["metadata"]
        place = ("apps", "replicasets", "default", "web", "status")
        say = Call("c1", "patch", *place, body={"status": {"replicas": count}}, uid=owner["uid"])
        children = [child(f"p{number}") for number in range(count)]
        (taken,) = children[0][1]
        await client.api.api.store.commit(Transaction(taken.guards, taken.writes))
        with pytest.raises(Conflict):
            await client.api.create_all(children, [say])
        assert len(await names(client)) == count - 1
        found = said(await client.ask("GET", f"{home}/web"))
        assert "replicas" not in found.get("status", {})
        await client.api.create_all([child("other")], [say])
        found = said(await client.ask("GET", f"{home}/web"))
        assert found["status"] == {"replicas": count}

    serving(check)


def test_a_pod_that_is_marked_is_seen_as_its_body_says() -> None:
    async def check(client: Client) -> None:
        await client.api.create_all([child("a", nodeName="n1")])
        await client.api.api.fresh()
        (before,) = client.api.api.view.rows(TABLE).scan()
        await client.ask("DELETE", f"{PODS}/a")
        (marked,) = client.api.api.view.rows(TABLE).scan()
        assert marked.value.metadata.deleting and not before.value.metadata.deleting
        assert marked.value == decoder(Pod)(marked.body)
        assert marked.value.spec is before.value.spec

    serving(check)
