"""Asking Proa's own registry whether an image is still the same."""

from __future__ import annotations

import asyncio

import pytest

from proa.node.containerd import mirror


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("busybox", ("docker.io", "library/busybox", "latest")),
        ("busybox:1.36", ("docker.io", "library/busybox", "1.36")),
        ("me/app", ("docker.io", "me/app", "latest")),
        ("docker.io/busybox", ("docker.io", "library/busybox", "latest")),
        ("public.ecr.aws/nginx/nginx:1", ("public.ecr.aws", "nginx/nginx", "1")),
        ("localhost/app:2", ("localhost", "app", "2")),
        ("127.0.0.1:4510/app", ("127.0.0.1:4510", "app", "latest")),
        ("app@sha256:00", None),
        ("", None),
        (" app", None),
    ],
)
def test_references_are_read_as_docker_reads_them(
    reference: str, parts: tuple[str, str, str] | None
) -> None:
    assert mirror.parse(reference) == parts


def answered(answer: bytes, reference: str = "app:1") -> tuple[str, bytes]:
    """(the digest that was understood, the request) with a registry that says ``answer``."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async def main() -> str:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await mirror.digest(f"http://127.0.0.1:{port}", reference)

    return asyncio.run(main()), b"".join(asked)


def test_the_digest_of_the_reference_is_asked_for() -> None:
    head = b"HTTP/1.1 200 OK\r\nDocker-Content-Digest: sha256:abc\r\ncontent-length: 9\r\n\r\n"
    digest, request = answered(head)
    assert digest == "sha256:abc"
    assert request.startswith(b"HEAD /v2/library/app/manifests/1?ns=docker.io HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nDocker-Content-Digest: sha256:abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
def test_any_doubt_is_no_digest(answer: bytes) -> None:
    assert answered(answer)[0] == ""


def test_a_registry_that_is_away_has_no_digest() -> None:
    assert asyncio.run(mirror.digest("http://127.0.0.1:1", "app")) == ""
    assert asyncio.run(mirror.digest("https://127.0.0.1:1", "app")) == ""
