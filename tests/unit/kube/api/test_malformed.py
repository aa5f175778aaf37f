"""Requests that make no sense are the caller's fault: never a 500, and nothing is changed."""

from __future__ import annotations

import pytest

from tests.unit.kube.api.served import DEFAULT, Client, config_map, pod, said, serving

MAPS = f"{DEFAULT}/configmaps"
SCALE = "/apis/apps/v1/namespaces/default/deployments/web/scale"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
JSON, YAML = "application/json", "application/yaml"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "one"}]},
        },
    },
}

REFUSED = [
    ("GET", f"{MAPS}?limit=abc", b"", JSON, 400),
    ("GET", f"{DEFAULT}/pods/web/log?sinceSeconds=abc", b"", JSON, 400),
    ("GET", f"{DEFAULT}/pods/web/log?sinceTime=abc", b"", JSON, 400),
    ("PATCH", f"{MAPS}/a", b'"x"', STRATEGIC, 400),
    ("PATCH", f"{MAPS}/a", b'{"metadata":"x"}', STRATEGIC, 400),
    ("PATCH", f"{MAPS}/a", b'{"metadata":"x"}', MERGE, 400),
    ("PATCH", f"{MAPS}/a", b"3", MERGE, 400),
    ("PATCH", f"{MAPS}/a", b'[{"op":"replace","path":"/metadata","value":1}]', JSON_PATCH, 400),
    ("PATCH", f"{MAPS}/new?fieldManager=m", b'{"metadata":"x"}', APPLY, 400),
    ("PATCH", f"{MAPS}/new?fieldManager=m", b"{}", APPLY, 400),
    ("PATCH", f"{MAPS}/a?fieldManager=m", b'{"kind":"ConfigMap","apiVersion":"v2"}', APPLY, 400),
    ("POST", f"{RBAC}/rolebindings", b'{"metadata":{"name":"a"}}', JSON, 422),
    ("POST", f"{RBAC}/rolebindings", b'{"metadata":{"name":"a"},"roleRef":3}', JSON, 400),
    ("POST", f"{RBAC}/roles", b'{"rules":"x"}', JSON, 400),
    ("PATCH", f"{MAPS}/a", b'{"data":{"x":"%b"}}' % (b"y" * 3_200_000), MERGE, 413),
    ("PUT", MAPS, b"{}", JSON, 405),
    ("POST", f"{MAPS}/a", b"{}", JSON, 405),
    ("PATCH", SCALE, b"{", MERGE, 400),
    ("PATCH", SCALE, b"[]", MERGE, 400),
    ("PATCH", SCALE, b'{"spec":{"replicas":"many"}}', MERGE, 400),
    ("PUT", SCALE, b'{"kind":"Scale","apiVersion":"autoscaling/v1","spec":"x"}', JSON, 400),
    ("POST", f"{DEFAULT}/pods/web/binding", b'{"target":"x"}', JSON, 400),
    ("POST", f"{DEFAULT}/pods/web/eviction", b'{"deleteOptions":"x"}', JSON, 400),
    ("DELETE", f"{MAPS}/a?gracePeriodSeconds=abc", b"", JSON, 400),
    ("DELETE", f"{MAPS}/a", b'{"gracePeriodSeconds":"abc"}', JSON, 400),
    ("DELETE", f"{MAPS}/a", b'{"propagationPolicy":5}', JSON, 400),
    ("DELETE", f"{MAPS}/a", b'{"propagationPolicy":"Nope"}', JSON, 422),
    ("DELETE", f"{MAPS}/a?propagationPolicy=Nope", b"", JSON, 422),
    ("DELETE", f"{MAPS}/a", b'{"preconditions":"x"}', JSON, 400),
    ("DELETE", f"{MAPS}/a", b'{"dryRun":["Some"]}', JSON, 422),
    ("POST", MAPS, b"kind: ConfigMap\napiVersion: v1\n1: 2\ndata: {? [a] : b}", YAML, 400),
    ("POST", MAPS, b"kind: ConfigMap\ndata: {a: !!binary aGk=}", YAML, 400),
    ("POST", MAPS, b"{data: {a: 99999999999999999999999}}", YAML, 400),
    ("POST", MAPS, b"[" * 3000 + b"]" * 3000, YAML, 400),
    ("PATCH", f"{MAPS}/a?fieldManager=m", b"[" * 3000 + b"]" * 3000, APPLY, 400),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status"),
    REFUSED,
    ids=[f"{case[0]} {case[1].rsplit('/', 1)[-1]} {case[2][:40]!r}" for case in REFUSED],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    method: str, path: str, body: bytes, content_type: str, status: int
) -> None:
    async def check(client: Client) -> None:
        await client.make(MAPS, config_map("a", x="1"))
        await client.make("/apis/apps/v1/namespaces/default/deployments", DEPLOYMENT)
        await client.make(f"{DEFAULT}/pods", pod("web", "node-1"))
        before = said(await client.ask("GET", MAPS))
        running = {"status": {"phase": "Running", "containerStatuses": [RUNNING]}}
        done = await client.ask("PATCH", f"{DEFAULT}/pods/web/status", running, MERGE)
        assert done.status == 200, done.body
        answer = await client.ask(method, path, body, content_type)
        assert answer.status == status, answer.body
        assert said(answer)["kind"] == "Status"
        assert said(await client.ask("GET", MAPS))["items"] == before["items"]

    serving(check)


RUNNING = {
    "name": "main",
    "image": "one",
    "imageID": "",
    "ready": True,
    "restartCount": 0,
    "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
}


def test_an_object_too_large_for_the_store_is_too_large() -> None:
    async def check(client: Client) -> None:
        answer = await client.ask("POST", MAPS, config_map("big", x="y" * 1_030_000))
        assert (answer.status, said(answer)["reason"]) == (413, "RequestEntityTooLarge")

    serving(check)


def test_orphans_are_made_only_where_that_is_asked_for() -> None:
    async def check(client: Client) -> None:
        await client.make(MAPS, config_map("a"))
        await client.ask("DELETE", f"{MAPS}/a?orphanDependents=false")
        assert (await client.ask("GET", f"{MAPS}/a")).status == 404

    serving(check)


def test_yaml_is_read_as_kubernetes_reads_it() -> None:
    text = (
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z}\ndata: {day: 2020-01-01, 1: one}\n"
    )

    async def check(client: Client) -> None:
        answer = await client.ask("POST", MAPS, text, YAML)
        assert answer.status == 201, answer.body
        assert said(answer)["data"] == {"day": "2020-01-01", "1": "one"}

    serving(check)


def test_aliases_may_not_blow_a_body_up() -> None:
    lines = [b"a0: &a0 {k: v}"]
    for level in range(1, 30):
        lines.append(b"a%d: &a%d [*a%d, *a%d]" % (level, level, level - 1, level - 1))

    async def check(client: Client) -> None:
        answer = await client.ask("POST", MAPS, b"\n".join(lines), YAML)
        assert answer.status == 400
        assert "alias" in said(answer)["message"]

    serving(check)
