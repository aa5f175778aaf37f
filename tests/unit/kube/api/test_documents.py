"""What is no resource: health, metrics, discovery, OpenAPI in both its forms, the issuer."""

from __future__ import annotations

import pytest

from proa.base.http import Request, Response
from proa.wire.kube.openapi_proto import CONTENT_TYPE, MEDIA_TYPE
from tests.unit.kube.api.served import DEFAULT, ISSUER, Client, said, serving

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"


async def get(client: Client, path: str, accept: str = "", token: bool = True) -> Response:
    where, _, raw = path.partition("?")
    pairs = tuple(
        (part.partition("=")[0], part.partition("=")[2]) for part in raw.split("&") if part
    )
    headers = {"accept": accept} if accept else {}
    if token:
        headers["authorization"] = f"Bearer {client.token}"
    return await client.api.handle(Request("GET", where, pairs, headers))


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/readyz/ping", "/livez/view"])
def test_health_is_told_to_anybody(path: str) -> None:
    async def check(client: Client) -> None:
        answer = await get(client, path, token="/" not in path[1:])
        if "/" in path[1:]:  # single checks are for those who may discover
            answer = await get(client, path)
        assert (answer.status, answer.body) == (200, b"ok")

    serving(check)


def test_health_lists_its_checks_and_leaves_out_the_excluded() -> None:
    async def check(client: Client) -> None:
        text = (await get(client, "/readyz?verbose")).body.decode()
        assert text == "[+]ping ok\n[+]view ok\nreadyz check passed\n"
        text = (await get(client, "/readyz?verbose&exclude=view&exclude=no")).body.decode()
        assert "[+]view excluded: ok" in text
        assert 'no matches for "no"' in text
        assert (await get(client, "/readyz/none")).status == 404

    serving(check)


def test_a_view_that_is_not_there_yet_is_not_ready() -> None:
    async def check(client: Client) -> None:
        client.api.api.view.synced.clear()
        answer = await get(client, "/readyz")
        client.api.api.view.synced.set()
        assert answer.status == 500
        assert b"[-]view failed: reason withheld" in answer.body

    serving(check)


def test_anonymous_sees_the_version_and_nothing_else() -> None:
    async def check(client: Client) -> None:
        assert said(await get(client, "/version", token=False))["minor"] == "36"
        for path in ("/api", "/openapi/v2", "/metrics", DEFAULT + "/pods"):
            answer = await get(client, path, token=False)
            assert (answer.status, said(answer)["reason"]) == (403, "Forbidden")
            assert 'User "system:anonymous" cannot' in said(answer)["message"]

    serving(check)


def test_metrics_count_requests_and_objects() -> None:
    async def check(client: Client) -> None:
        await get(client, f"{DEFAULT}/pods/none")
        await get(client, "/api/v1/nonsense/x")
        text = (await get(client, "/metrics")).body.decode()
        series = 'code="404",group="",resource="pods",verb="GET",version="v1"'
        assert f"apiserver_request_total{{{series}}} 1" in text
        assert 'apiserver_storage_objects{resource="namespaces"} 4' in text
        assert "nonsense" not in text

    serving(check)


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_discovery_comes_aggregated_in_the_version_that_is_asked_for(version: str) -> None:
    async def check(client: Client) -> None:
        accept = f"{AGGREGATED.format(version)},application/json"
        for path in ("/api", "/apis"):
            answer = await get(client, path, accept)
            assert answer.headers["content-type"] == AGGREGATED.format(version)
            found = said(answer)
            assert found["apiVersion"] == f"apidiscovery.k8s.io/{version}"
            assert found["items"]
        assert said(await get(client, "/apis"))["kind"] == "APIGroupList"
        rows = said(await get(client, "/api/v1"))["resources"]
        eviction = next(row for row in rows if row["name"] == "pods/eviction")
        assert (eviction["group"], eviction["kind"]) == ("policy", "Eviction")
        assert (await get(client, "/apis/none.io")).status == 404

    serving(check)


def test_the_issuer_says_where_its_keys_are() -> None:
    async def check(client: Client) -> None:
        found = said(await get(client, "/.well-known/openid-configuration"))
        assert found["issuer"] == ISSUER
        assert found["jwks_uri"] == f"{ISSUER}/openid/v1/jwks"
        (key,) = said(await get(client, "/openid/v1/jwks"))["keys"]
        assert key["alg"] == "ES256"
        assert "d" not in key

    serving(check)


def test_openapi_v2_is_protobuf_for_those_who_ask_for_that() -> None:
    async def check(client: Client) -> None:
        answer = await get(client, "/openapi/v2", MEDIA_TYPE)
        assert answer.headers["content-type"] == CONTENT_TYPE
        assert answer.body.startswith(b"\x0a\x032.0")  # swagger = 1
        again = Request("GET", "/openapi/v2", (), {
            "accept": MEDIA_TYPE, "if-none-match": answer.headers["etag"],
            "authorization": f"Bearer {client.token}"})  # fmt: skip
        assert (await client.api.handle(again)).status == 304
        document = said(await get(client, "/openapi/v2", "application/json"))
        assert document["swagger"] == "2.0"

    serving(check)
