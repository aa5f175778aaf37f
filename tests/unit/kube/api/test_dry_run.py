"""A dry run answers as the real request would, and changes nothing."""

from __future__ import annotations

import pytest

from tests.unit.kube.api.served import DEFAULT, Client, Json, config_map, pod, said, serving

POD = f"{DEFAULT}/pods/web"
EVICTION: Json = {
    "apiVersion": "policy/v1",
    "kind": "Eviction",
    "metadata": {"name": "web"},
}
BINDING: Json = {
    "apiVersion": "v1",
    "kind": "Binding",
    "metadata": {"name": "web"},
    "target": {"kind": "Node", "name": "node-1"},
}


@pytest.mark.parametrize(
    ("query", "options"),
    [("?dryRun=All", {}), ("", {"deleteOptions": {"dryRun": ["All"]}})],
    ids=["asked by the query", "asked by its delete options"],
)
@pytest.mark.parametrize("node", ["", "node-1"], ids=["unbound", "bound"])
def test_an_eviction_on_trial_leaves_the_pod_alone(query: str, options: Json, node: str) -> None:
    async def check(client: Client) -> None:
        made = await client.make(f"{DEFAULT}/pods", pod("web", node))
        answer = await client.ask("POST", f"{POD}/eviction{query}", {**EVICTION, **options})
        assert answer.status == 201
        left = said(await client.ask("GET", POD))["metadata"]
        assert left["resourceVersion"] == made["metadata"]["resourceVersion"]
        assert "deletionTimestamp" not in left

    serving(check)


def test_an_eviction_in_earnest_ends_the_pod() -> None:
    async def check(client: Client) -> None:
        await client.make(f"{DEFAULT}/pods", pod("web"))
        assert (await client.ask("POST", f"{POD}/eviction", EVICTION)).status == 201
        assert (await client.ask("GET", POD)).status == 404

    serving(check)


def test_an_evicted_pod_that_runs_says_what_takes_it_away() -> None:
    async def check(client: Client) -> None:
        await client.make(f"{DEFAULT}/pods", pod("web", "node-1"))
        assert (await client.ask("POST", f"{POD}/eviction", EVICTION)).status == 201
        left = said(await client.ask("GET", POD))
        assert left["metadata"]["deletionTimestamp"]
        (found,) = (item for item in left["status"]["conditions"]
                    if item["type"] == "DisruptionTarget")  # fmt: skip
        assert (found["status"], found["reason"]) == ("True", "EvictionByEvictionAPI")

    serving(check)


def test_a_binding_on_trial_gives_the_pod_no_node() -> None:
    async def check(client: Client) -> None:
        await client.make(f"{DEFAULT}/pods", pod("web"))
        assert (await client.ask("POST", f"{POD}/binding?dryRun=All", BINDING)).status == 201
        assert "nodeName" not in said(await client.ask("GET", POD))["spec"]

    serving(check)


@pytest.mark.parametrize(
    ("options", "status_after"),
    [({"dryRun": ["All"]}, 200), ({"dryRun": []}, 404), ({}, 404)],
    ids=["all stages", "no stage", "not asked for"],
)
def test_a_deletion_is_on_trial_only_where_a_stage_is_named(
    options: Json, status_after: int
) -> None:
    async def check(client: Client) -> None:
        await client.make(f"{DEFAULT}/configmaps", config_map("a"))
        await client.ask("DELETE", f"{DEFAULT}/configmaps/a", options)
        assert (await client.ask("GET", f"{DEFAULT}/configmaps/a")).status == status_after

    serving(check)
