"""Whether Proa's own registry still has the image that is here already.

``ContainerdRuntime.pull`` asks before it lets containerd pull: a pull of what is there resolves,
opens and relabels everything again, which takes longer than the HEAD that it begins with and
competes with the start of the sandbox for the processor (distribution specification, "Checking if
content exists in the registry"). Any doubt means an ordinary pull.
"""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import quote, urlsplit

import h11

_ACCEPT = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
_ANSWER_S = 2.0
_CHUNK = 16 * 1024
_HUB = "docker.io"


def parse(reference: str) -> tuple[str, str, str] | None:
    """(registry, repository, tag) of an image reference as Docker reads it; None for one by
    digest, which needs no check, and for one that is none."""
    if not reference or "@" in reference or reference != reference.strip():
        return None
    first, slash, rest = reference.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, path = (first, rest) if is_host else (_HUB, reference)
    path, _, tag = path.partition(":")
    if host == _HUB and "/" not in path:
        path = f"library/{path}"
    return host, path, tag or "latest"


async def digest(mirror: str, reference: str) -> str:
    """The digest ("sha256:…") that the registry at ``mirror`` ("http://127.0.0.1:4510") has for
    a reference; empty where it has none or does not say."""
    parsed, url = parse(reference), urlsplit(mirror)
    if parsed is None or url.scheme != "http":
        return ""
    host, path, tag = parsed
    target = f"/v2/{quote(path)}/manifests/{quote(tag)}?ns={quote(host)}"
    try:
        async with asyncio.timeout(_ANSWER_S):
            return await _head(url.hostname or "", url.port or 80, target)
    except (OSError, TimeoutError, h11.ProtocolError):
        return ""


async def _head(host: str, port: int, target: str) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        connection = h11.Connection(h11.CLIENT)
        headers = [("host", f"{host}:{port}"), ("accept", _ACCEPT), ("connection", "close")]
        request = h11.Request(method="HEAD", target=target, headers=headers)
        writer.write(
            (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")
        )
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        if not isinstance(event, h11.Response) or event.status_code != 200:
            return ""
        return dict(event.headers).get(b"docker-content-digest", b"").decode(errors="replace")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
