"""What controllers of this process write: the same as by the long way, and together."""

from __future__ import annotations

from typing import Any

import pytest

from proa.kube.api.call import ApiError, Call
from proa.kube.api.own_writes import MERGE
from proa.kube.decoding import decoder
from proa.kube.objects import Pod
from proa.kube.tables import PODS as TABLE
from proa.store.api import Put, Transaction
from tests.unit.kube.api.served import DEFAULT, Client, pod, said, serving

PODS = f"{DEFAULT}/pods"
SETS = "/apis/apps/v1/namespaces/default/replicasets"
Json = dict[str, Any]


def on_node(name: str) -> Json:
    body = pod(name)
    body["spec"]["nodeName"] = "n1"
    return body


def replica_set(name: str) -> Json:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod("x")["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": spec}


def deletion(body: Json, **more: Any) -> Call:
    meta = body["metadata"]
    return Call("c1", "delete", "", "pods", "default", meta["name"], uid=meta["uid"], **more)


def sized(body: Json, **patch: Any) -> Call:
    meta = body["metadata"]
    version = int(meta["resourceVersion"])
    place = ("apps", "replicasets", "default", meta["name"])
    return Call("c1", "patch", *place, body=patch, version=version, uid=meta["uid"])


def told(name: str) -> Call:
    body = {"kind": "Event", "metadata": {"name": name, "namespace": "default"}, "count": 1}
    return Call("c1", "create", "", "events", "default", name, body=body, existing_ok=True)


async def got(client: Client, path: str) -> Json:
    return said(await client.ask("GET", path))


def version_of(body: Json) -> int:
    return int(body["metadata"]["resourceVersion"])


def test_one_decision_is_one_transaction() -> None:
    async def check(client: Client) -> None:
        made = [await client.make(PODS, on_node(name)) for name in "ab"]
        owner = await client.make(SETS, replica_set("web"))
        calls = [*map(deletion, made), sized(owner, spec={"replicas": 0}), told("e")]
        await client.api.perform_all(calls)
        paths = [f"{PODS}/a", f"{PODS}/b", f"{SETS}/web", f"{DEFAULT}/events/e"]
        versions = [version_of(await got(client, path)) for path in paths]
        assert len({version >> 8 for version in versions}) == 1
        assert versions == sorted(versions)

    serving(check)


@pytest.mark.parametrize("propagation", ["", "Background"])
@pytest.mark.parametrize("grace_s", [None, 5, 0])
def test_pods_are_deleted_as_by_a_request(grace_s: int | None, propagation: str) -> None:
    async def check(client: Client) -> None:
        a, _ = [await client.make(PODS, on_node(name)) for name in "ab"]
        call = deletion(a, grace_s=grace_s, propagation=propagation)
        await client.api.perform_all([call, told("e")])
        options = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        await client.ask("DELETE", f"{PODS}/b", options)
        items = (await got(client, PODS))["items"]
        if grace_s == 0:
            assert items == []
            return
        mine, theirs = ({**item["metadata"], "name": "", "uid": ""} for item in items)
        for meta in (mine, theirs):
            del meta["resourceVersion"], meta["managedFields"]
        assert mine == theirs and mine["generation"] == 2
        for row in client.api.api.view.rows(TABLE).scan():
            assert row.value == decoder(Pod)(row.body)

    serving(check)


def test_pod_that_waits_for_a_finalizer_is_marked_only() -> None:
    async def check(client: Client) -> None:
        body = pod("a")
        body["metadata"]["finalizers"] = ["example.com/hold"]
        made = await client.make(PODS, body)
        await client.api.perform_all([deletion(made), told("e")])
        assert (await got(client, f"{PODS}/a"))["metadata"]["deletionTimestamp"]

    serving(check)


@pytest.mark.parametrize("rest", [None, ["example.com/other"]])
def test_a_pod_is_released_as_by_a_request(rest: list[str] | None) -> None:
    async def check(client: Client) -> None:
        def held(name: str) -> Json:
            body = on_node(name)
            body["metadata"]["finalizers"] = ["example.com/hold", "example.com/other"]
            return body

        a, _ = [await client.make(PODS, held(name)) for name in "ab"]
        patch = {"metadata": {"finalizers": rest}}
        place = ("", "pods", "default", "a")
        await client.api.perform(
            Call("c1", "patch", *place, body=patch, version=version_of(a), uid=a["metadata"]["uid"])
        )
        await client.ask("PATCH", f"{PODS}/b", patch, MERGE)
        mine, theirs = [(await got(client, f"{PODS}/{name}"))["metadata"] for name in "ab"]
        assert mine.get("finalizers") == theirs.get("finalizers") == rest
        assert mine["generation"] == theirs["generation"] == 1
        assert mine["managedFields"] == a["metadata"]["managedFields"]
        for row in client.api.api.view.rows(TABLE).scan():
            assert row.value == decoder(Pod)(row.body)

    serving(check)


def test_the_last_finalizer_of_a_pod_that_is_to_go_takes_it_away() -> None:
    async def check(client: Client) -> None:
        body = pod("a")
        body["metadata"]["finalizers"] = ["example.com/hold"]
        made = await client.make(PODS, body)
        await client.api.perform(deletion(made))
        patch = {"metadata": {"finalizers": None}}
        await client.api.perform(Call("c1", "patch", "", "pods", "default", "a", body=patch))
        assert (await got(client, PODS))["items"] == []

    serving(check)


def test_size_that_is_taken_back_is_what_the_api_gives_by_default() -> None:
    async def check(client: Client) -> None:
        await client.make(SETS, replica_set("web"))
        place = ("apps", "replicasets", "default", "web")
        for replicas in (3, None):
            await client.api.perform(
                Call("c1", "patch", *place, body={"spec": {"replicas": replicas}})
            )
        assert (await got(client, f"{SETS}/web"))["spec"]["replicas"] == 1

    serving(check)


def test_size_is_a_new_generation_and_what_is_remembered_is_none() -> None:
    async def check(client: Client) -> None:
        made = await client.make(SETS, replica_set("web"))
        note = {"annotations": {"example.com/size": "3"}}
        await client.api.perform_all([sized(made, spec={"replicas": 3}, metadata=note)])
        grown = await got(client, f"{SETS}/web")
        assert grown["spec"] == {**made["spec"], "replicas": 3}
        assert grown["metadata"]["generation"] == 2
        assert grown["metadata"]["annotations"] == note["annotations"]
        await client.api.perform(sized(grown, metadata={"annotations": {"example.com/size": "4"}}))
        noted = await got(client, f"{SETS}/web")
        assert noted["metadata"]["generation"] == 2
        assert noted["metadata"]["annotations"] == {"example.com/size": "4"}

    serving(check)


def test_size_decided_on_an_older_picture_is_refused_and_what_came_before_stays() -> None:
    async def check(client: Client) -> None:
        made = await client.make(SETS, replica_set("web"))
        await client.api.perform(sized(made, spec={"replicas": 2}))
        with pytest.raises(ApiError, match="has been modified"):
            await client.api.perform_all([told("e"), sized(made, spec={"replicas": 3}), told("f")])
        assert (await got(client, f"{SETS}/web"))["spec"]["replicas"] == 2
        names = [
            item["metadata"]["name"] for item in (await got(client, f"{DEFAULT}/events"))["items"]
        ]
        assert names == ["e"]

    serving(check)


def test_who_applied_a_set_still_conflicts_with_who_sizes_it() -> None:
    async def check(client: Client) -> None:
        path = f"{SETS}/web?fieldManager=me"
        kind = "application/apply-patch+yaml"
        made = said(await client.ask("PATCH", path, replica_set("web"), kind))
        await client.api.perform(sized(made, spec={"replicas": 3}))
        answer = await client.ask("PATCH", path, replica_set("web"), kind)
        assert answer.status == 409 and b"conflict" in answer.body

    serving(check)


def test_two_writes_of_one_object_follow_each_other() -> None:
    async def check(client: Client) -> None:
        await client.make(SETS, replica_set("web"))
        status = Call("c1", "patch", "apps", "replicasets", "default", "web", "status",
                      {"status": {"replicas": 2}})  # fmt: skip
        other = Call("c1", "patch", "apps", "replicasets", "default", "web", "status",
                     {"status": {"readyReplicas": 1}})  # fmt: skip
        await client.api.perform_all([status, other])
        assert (await got(client, f"{SETS}/web"))["status"] == {"replicas": 2, "readyReplicas": 1}

    serving(check)


def test_nothing_after_a_refusal_is_written_when_somebody_was_faster() -> None:
    """Also where the picture did not show it yet: no Event tells of a size that was refused."""

    async def check(client: Client) -> None:
        first, second = [await client.make(SETS, replica_set(name)) for name in ("a", "b")]
        api = client.api.api
        record = await api.store.get("/kube/c1/apps/replicasets/default/a")
        assert record is not None
        await api.store.commit(Transaction(writes=(Put(record.key, record.body),)))
        assert api.view.version < await api.store.version()
        calls = [told("e"), sized(first, spec={"replicas": 2}), told("f")]
        with pytest.raises(ApiError, match="has been modified"):
            await client.api.perform_all([*calls, sized(second, spec={"replicas": 0})])
        sizes = [(await got(client, f"{SETS}/{name}"))["spec"]["replicas"] for name in "ab"]
        assert sizes == [1, 1]
        items = (await got(client, f"{DEFAULT}/events"))["items"]
        assert [item["metadata"]["name"] for item in items] == ["e"]

    serving(check)


SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def slice_of(*addresses: str) -> Json:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]} for address in addresses],
    }


def filled(made: Json, addresses: list[str]) -> Call:
    endpoints = [{"addresses": [address]} for address in addresses]
    place = ("discovery.k8s.io", "endpointslices", "default", "web")
    return Call("c1", "patch", *place, body={"endpoints": endpoints}, version=version_of(made))


def test_endpoints_are_written_as_by_a_request_but_for_managed_fields() -> None:
    async def check(client: Client) -> None:
        made = await client.make(SLICES, slice_of("10.0.0.1"))
        await client.api.perform(filled(made, ["10.0.0.1", "10.0.0.2"]))
        mine = await got(client, f"{SLICES}/web")
        assert mine["metadata"]["managedFields"] == made["metadata"]["managedFields"]
        wanted = slice_of("10.0.0.1", "10.0.0.2")["endpoints"]
        await client.ask("PATCH", f"{SLICES}/web", {"endpoints": []}, MERGE)
        theirs = said(await client.ask("PATCH", f"{SLICES}/web", {"endpoints": wanted}, MERGE))
        assert mine["endpoints"] == theirs["endpoints"] == wanted
        generations = [body["metadata"].get("generation", 0) for body in (made, mine, theirs)]
        assert generations == [0, 1, 3]

    serving(check)


def test_who_applied_endpoints_still_conflicts_with_who_finds_them() -> None:
    async def check(client: Client) -> None:
        path = f"{SLICES}/web?fieldManager=me"
        kind = "application/apply-patch+yaml"
        made = said(await client.ask("PATCH", path, slice_of("10.0.0.1"), kind))
        await client.api.perform(filled(made, ["10.0.0.2"]))
        answer = await client.ask("PATCH", path, slice_of("10.0.0.1"), kind)
        assert answer.status == 409 and b"conflict" in answer.body

    serving(check)
