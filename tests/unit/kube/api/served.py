"""One cluster's whole API over the real store in memory, asked by requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import cache
from typing import Any

import orjson

from proa.base.chance import Chance
from proa.base.clock import VirtualClock, run_virtual
from proa.base.errors import CallerFault
from proa.base.http import Request, Response, Socket
from proa.kube.api import bootstrap
from proa.kube.api.call import Call
from proa.kube.api.context import Api, ClusterInfo
from proa.kube.api.node_link import NodeLink
from proa.kube.api.server import KubeApi
from proa.kube.api.tokens import TokenIssuer
from proa.kube.pki import key_bytes, new_key
from proa.kube.schema.cache import SchemaCache
from proa.kube.schema.kinds import load_kinds
from proa.kube.schema.openapi import OpenAPI
from proa.kube.tables import TABLES
from proa.reconcile.view import View
from proa.store.sqlite import memory_store

ISSUER = "https://issuer"
CLUSTER = ClusterInfo("c1", "one", "1.36.2", "10.100.0.0/16", "127.0.0.1:6443", ISSUER)
DEFAULT = "/api/v1/namespaces/default"
Json = dict[str, Any]


class QuietLink:
    """Agents whose containers write one line and run no commands."""

    async def logs(
        self, node: str, pod_uid: str, container: str, options: dict[str, str]
    ) -> AsyncIterator[bytes]:
        yield b"a line\n"

    async def connect(self, node: str, path: str, query: Sequence[tuple[str, str]]) -> Socket:
        raise CallerFault("connection refused")


@cache
def _schemas() -> SchemaCache:
    return SchemaCache.open(None)


class Client:
    """Asks as a member of system:masters."""

    def __init__(self, api: KubeApi, token: str) -> None:
        self.api, self.token = api, token

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str = "application/json",
        **more: str,
    ) -> Response:
        """One request; ``body`` is sent as JSON unless it is bytes already, ``more`` are headers
        with underscores for hyphens."""
        where, _, raw = path.partition("?")
        pairs = tuple(tuple(part.split("=", 1)) for part in raw.split("&") if part)
        sent = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        headers = {"authorization": f"Bearer {self.token}", "content-type": content_type}
        headers |= {name.replace("_", "-"): text for name, text in more.items()}
        return await self.api.handle(Request(method, where, pairs, headers, sent, raw))  # type: ignore[arg-type]

    async def make(self, path: str, body: Json) -> Json:
        """Create an object that nothing is wrong with."""
        answer = await self.ask("POST", path, body)
        assert answer.status == 201, answer.body
        return said(answer)


def said(answer: Response) -> Json:
    """The JSON object in an answer."""
    found: Json = json.loads(answer.body)
    return found


def serving(check: Callable[[Client], Awaitable[None]], link: NodeLink | None = None) -> None:
    """Run ``check`` against a cluster that has just started; ``link`` leads to its agents."""

    async def run() -> None:
        clock, chance = VirtualClock(), Chance("served")
        store = await memory_store(clock)
        view = View(store, TABLES)
        running = asyncio.ensure_future(view.run())
        await view.synced.wait()
        kinds, issuer = load_kinds(_schemas()), TokenIssuer(key_bytes(new_key()), ISSUER)
        api = Api(store, view, CLUSTER, kinds, clock, chance, frozenset())
        server = KubeApi(api, issuer, lambda: OpenAPI(kinds, _schemas()), link or QuietLink())
        for body in bootstrap.objects(CLUSTER, clock.now()):
            await _prepare(server, body)
        try:
            await check(await _client(server, issuer, clock))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await store.close()

    run_virtual(run())


async def _prepare(server: KubeApi, body: Json) -> None:
    group, _, version = body["apiVersion"].rpartition("/")
    resource = server.api.kinds.by_kind(group, version, body["kind"])
    assert resource is not None
    metadata = body["metadata"]
    where = (metadata.get("namespace", ""), metadata["name"])
    await server.perform(Call("c1", "create", group, resource.name, *where, body=body))


async def _client(server: KubeApi, issuer: TokenIssuer, clock: VirtualClock) -> Client:
    """A service account that may do everything, and a token of it."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    made = await server.call(
        Call("c1", "create", "", "serviceaccounts", "default", "default", body=account)
    )
    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "tester"},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [subject],
    }
    await server.perform(
        Call("c1", "create", rbac, "clusterrolebindings", name="tester", body=binding)
    )
    token, _ = issuer.mint(
        "default", "default", made["metadata"]["uid"],
        audiences=[ISSUER], expires_s=3600, now=clock.now(), id="t1",
    )  # fmt: skip
    return Client(server, token)


def config_map(name: str, **data: str) -> Json:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name: str, node: str = "") -> Json:
    """A Pod, bound where a node is named."""
    spec: Json = {"containers": [{"name": "main", "image": "one"}]}
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
