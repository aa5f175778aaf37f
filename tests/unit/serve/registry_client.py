"""A client that speaks to the registry's handler, for the tests of the registry."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from proa.base.http import Request, Response
from proa.serve.registry import Registry
from proa.store.blobs import digest_of

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
NONE = "sha256:" + "0" * 64


class Client:
    """Speaks to the registry's handler."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        stream: AsyncIterator[bytes] | None = None,
        query: Sequence[tuple[str, str]] = (),
        **headers: str,
    ) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.registry.handle(
            Request(method, path, tuple(query), named, body, stream=stream)
        )

    async def status(self, method: str, path: str, **rest: Any) -> tuple[int, str]:
        """The status, and the error's code in the specification's shape."""
        answer = await self.ask(method, path, **rest)
        code = json.loads(answer.body)["errors"][0]["code"] if answer.status >= 400 else ""
        return answer.status, code

    async def push_blob(self, name: str, content: bytes) -> str:
        digest = digest_of(content)
        answer = await self.ask(
            "POST", f"/v2/{name}/blobs/uploads/", content, query=[("digest", digest)]
        )
        assert (answer.status, answer.headers["docker-content-digest"]) == (201, digest)
        return digest

    async def push(
        self, name: str, tag: str, content: bytes = b"{}", media_type: str = IMAGE, **more: Any
    ) -> str:
        """An image of one layer; returns its manifest's digest."""
        config = await self.push_blob(name, content)
        layer = await self.push_blob(name, b"layer of " + content)
        manifest = {
            "schemaVersion": 2,
            "config": {"digest": config, "mediaType": "application/vnd.oci.image.config.v1+json"},
            "layers": [{"digest": layer}],
            **more,
        }
        return await self.put(name, tag, manifest, media_type)

    async def put(self, name: str, tag: str, manifest: dict[str, Any], media_type: str) -> str:
        body = json.dumps(manifest).encode()
        path = f"/v2/{name}/manifests/{tag or digest_of(body)}"
        answer = await self.ask("PUT", path, body, content_type=media_type)
        assert answer.status == 201, answer.body
        return answer.headers["docker-content-digest"]

    async def blob(self, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        answer = await self.ask("GET", path, **headers)
        body = answer.body
        if answer.stream is not None:
            body = b"".join([chunk async for chunk in answer.stream])
        return answer.status, body, answer.headers


Story = Callable[[Client], Awaitable[None]]
