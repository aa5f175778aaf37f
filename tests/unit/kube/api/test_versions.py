"""Kinds of two versions over the API: written, read, watched and patched through either."""

from __future__ import annotations

import json

from tests.unit.kube.api.served import DEFAULT, Client, Json, said, serving

HPA = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
CORE_EVENTS = f"{DEFAULT}/events"
NEW_EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
MERGE = "application/merge-patch+json"


def autoscaler(version: str, **spec: object) -> Json:
    target = {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}
    return {
        "apiVersion": f"autoscaling/{version}",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3, **spec},
    }


def test_an_autoscaler_written_as_v1_is_read_as_v2_and_back() -> None:
    async def check(client: Client) -> None:
        v1, v2 = HPA.format("v1"), HPA.format("v2")
        made = await client.make(v1, autoscaler("v1", targetCPUUtilizationPercentage=70))
        assert made["spec"]["targetCPUUtilizationPercentage"] == 70
        newer = said(await client.ask("GET", f"{v2}/web"))
        assert newer["apiVersion"] == "autoscaling/v2"
        assert newer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
        patch = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 7}}}}
        assert (await client.ask("PATCH", f"{v2}/web", patch, MERGE)).status == 200
        more = {"spec": {"maxReplicas": 9}}
        assert (await client.ask("PATCH", f"{v1}/web", more, MERGE)).status == 200
        newer = said(await client.ask("GET", f"{v2}/web"))
        assert newer["spec"]["maxReplicas"] == 9
        assert newer["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 7
        listed = said(await client.ask("GET", v1))
        assert listed["items"][0]["apiVersion"] == "autoscaling/v1"
        assert (await client.ask("DELETE", f"{v1}/web")).status == 200
        assert said(await client.ask("GET", v2))["items"] == []

    serving(check)


def test_events_of_both_groups_are_the_same_objects() -> None:
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/c",
        "reportingInstance": "c-1",
        "action": "Pulling",
        "reason": "Pulled",
        "regarding": {"kind": "Pod", "name": "web", "namespace": "default"},
        "note": "done",
        "type": "Normal",
    }

    async def check(client: Client) -> None:
        await client.make(NEW_EVENTS, event)
        core = said(await client.ask("GET", f"{CORE_EVENTS}/e"))
        assert (core["apiVersion"], core["message"]) == ("v1", "done")
        assert core["involvedObject"]["name"] == "web"
        chosen = f"{CORE_EVENTS}?fieldSelector=involvedObject.name=web"
        assert len(said(await client.ask("GET", chosen))["items"]) == 1
        chosen = f"{NEW_EVENTS}?fieldSelector=regarding.name=web"
        assert len(said(await client.ask("GET", chosen))["items"]) == 1
        answer = await client.ask("GET", f"{NEW_EVENTS}?watch=1&timeoutSeconds=1")
        assert answer.stream is not None
        (line,) = [line async for chunk in answer.stream for line in chunk.splitlines()]
        assert json.loads(line)["object"]["note"] == "done"

    serving(check)
