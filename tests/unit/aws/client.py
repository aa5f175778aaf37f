"""boto3 clients whose requests go straight into a gateway: no sockets, no threads.

``Caller`` owns an event loop; each botocore request runs it until the gateway has answered, so
that background tasks of the same world (views) make progress too.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config

from proa.base.http import Handler, Request, Response

ENDPOINT = "http://127.0.0.1:4566"


class Raw(io.BytesIO):
    """The part of urllib3's response that botocore reads."""

    def stream(self, _size: int = 0, **_kwargs: Any) -> Any:
        yield self.read()


def to_request(prepared: AWSPreparedRequest) -> Request:
    """What the HTTP shell would make of a request that botocore is about to send."""
    parts = urlsplit(prepared.url)
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else str(value)
        for name, value in prepared.headers.items()
    }
    headers.setdefault("host", parts.netloc)
    body = prepared.body or b""
    if hasattr(body, "read"):
        body = body.read()
    return Request(
        method=prepared.method,
        path=parts.path or "/",
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
        headers=headers,
        body=body.encode() if isinstance(body, str) else bytes(body),
        raw_query=parts.query,
    )


class Caller:
    """Makes clients for one gateway. ``seen`` keeps the requests and answers that passed."""

    def __init__(self, handler: Handler, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._handler = handler
        self._loop = loop or asyncio.new_event_loop()
        self.seen: list[tuple[Request, Response]] = []
        self.alter: Callable[[Request], Request] = lambda request: request

    def close(self) -> None:
        """End the loop."""
        self._loop.close()

    def client(
        self,
        service: str,
        access_key: str = "AKIAPROATEST00000001",
        secret: str = "secret",
        token: str | None = None,
        region: str = "us-east-1",
        **config: Any,
    ) -> Any:
        """A boto3 client; input checks are left to the gateway, retries are off."""
        session = boto3.session.Session(
            aws_access_key_id=access_key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            region_name=region,
        )
        options = {"parameter_validation": False, "retries": {"total_max_attempts": 1}, **config}
        client = session.client(service, endpoint_url=ENDPOINT, config=Config(**options))
        client.meta.events.register("before-send", self._send)
        return client

    def call(self, request: Request) -> Response:
        """One request, as is."""
        return self._loop.run_until_complete(self._handler(request))

    def _send(self, request: AWSPreparedRequest, **_kwargs: Any) -> AWSResponse:
        asked = self.alter(to_request(request))
        answer = self.call(asked)
        self.seen.append((asked, answer))
        return AWSResponse(request.url, answer.status, answer.headers, Raw(answer.body))
