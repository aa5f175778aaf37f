"""Clients that cost little, so that what is timed is Proa: aiohttp, connections kept open.

``KubeClient`` speaks the Kubernetes API with the client certificate of a kubeconfig; ``Ecs``
signs each call by SigV4 with botocore's signer. Both are used by ``start`` and ``api``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_TARGET = "AmazonEC2ContainerServiceV20141113"
_TIMEOUT = aiohttp.ClientTimeout(total=120)
_KEPT_S = 60.0


@dataclass(slots=True, frozen=True)
class Kubeconfig:
    """The server and the files of authority, certificate and key that a client needs."""

    server: str
    authority: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(str(self.certificate), str(self.key))
        return context


def read_kubeconfig(path: Path, folder: Path) -> Kubeconfig:
    """The current context of a kubeconfig; embedded data is written as files to ``folder``."""
    document = yaml.safe_load(path.read_text())

    def named(kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(i for i in document[f"{kind}s"] if i["name"] == name)[kind]
        return found

    context = named("context", document["current-context"])
    cluster, user = named("cluster", context["cluster"]), named("user", context["user"])

    def file(owner: dict[str, Any], field: str) -> Path:
        if field in owner:
            return path.parent / str(owner[field])
        target = folder / field
        target.write_bytes(base64.b64decode(owner[f"{field}-data"]))
        target.chmod(0o600)
        return target

    return Kubeconfig(
        server=cluster["server"],
        authority=file(cluster, "certificate-authority"),
        certificate=file(user, "client-certificate"),
        key=file(user, "client-key"),
    )


async def _answer(response: aiohttp.ClientResponse) -> Any:
    body = await response.read()
    if response.status >= 400:
        raise RuntimeError(f"{response.method} {response.url}: {response.status} {body[:500]!r}")
    return json.loads(body)


class KubeClient:
    """The Kubernetes API of one server, over so many connections at most; 0: as many as calls."""

    def __init__(self, kubeconfig: Kubeconfig, connections: int = 0) -> None:
        self._server = kubeconfig.server.rstrip("/")
        connector = aiohttp.TCPConnector(
            ssl=kubeconfig.context(), limit=connections, keepalive_timeout=_KEPT_S
        )
        self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)

    async def close(self) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the decoded answer. Raises RuntimeError for a status of 400 or more."""
        async with self._session.request(method, self._server + path, json=body) as response:
            return await _answer(response)

    @contextlib.asynccontextmanager
    async def watch(self, path: str, version: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Events after a resource version; the block begins once the server has answered."""
        url = f"{self._server}{path}?watch=true&resourceVersion={version}"
        async with self._session.get(url) as response:
            if response.status != 200:
                await _answer(response)
            yield _events(response)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    pending = b""
    async for chunk in response.content.iter_any():
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            event: dict[str, Any] = json.loads(line)
            yield event


def signed(environment: Mapping[str, str], operation: str, body: bytes) -> dict[str, str]:
    """Headers of one ECS call, valid for the 15 minutes that SigV4 allows."""
    request = AWSRequest(
        method="POST",
        url=environment["AWS_ENDPOINT_URL"] + "/",
        data=body,
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"{_TARGET}.{operation}",
        },
    )
    keys = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(keys, "ecs", environment["AWS_DEFAULT_REGION"]).add_auth(request)
    return dict(request.headers.items())


class Ecs:
    """Amazon ECS of one Proa."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_S)
        self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)

    async def close(self) -> None:
        await self._session.close()

    async def call(self, operation: str, **members: Any) -> Any:
        """One operation; the decoded answer. Raises RuntimeError for an error."""
        return await self.asking(operation, **members)()

    def asking(self, operation: str, **members: Any) -> Callable[[], Awaitable[Any]]:
        """The same call again and again, signed once; its signature lasts for 15 minutes."""
        body = json.dumps(members).encode()
        headers = signed(self._environment, operation, body)
        url = self._environment["AWS_ENDPOINT_URL"] + "/"

        async def ask() -> Any:
            async with self._session.post(url, data=body, headers=headers) as response:
                return await _answer(response)

        return ask
