"""The gateway's door to the long tail: what no slice serves, once the caller is known.

``Door`` says which services lie behind it and hands requests through the ``LongTail`` port. The
other side sees who calls only by the account and the access key: the signature ends here.
"""

from __future__ import annotations

from dataclasses import replace

from proa.aws.gateway.service import AwsError, Context
from proa.aws.longtail.port import Forward, LongTail, NotServed, caller_headers
from proa.aws.longtail.s3 import in_path, whole
from proa.aws.longtail.table import mutates, refusal
from proa.base.http import Request, Response
from proa.wire.aws.model import UnknownService, load_model
from proa.wire.aws.service import ServiceCodec
from proa.wire.sigv4 import Claim

_UNTOUCHED = frozenset(
    {"authorization", "connection", "content-length", "expect", "host", "te", "transfer-encoding",
     "x-amz-content-sha256", "x-amz-security-token"}
)  # fmt: skip
_OWN = frozenset({"connection", "content-length", "date", "server", "transfer-encoding"})
_HOLDS_URLS = frozenset({"sqs"})  # answers name the address that the caller used


class Door:
    """Codecs of the services behind it are compiled on first use."""

    def __init__(self, tail: LongTail) -> None:
        self._tail = tail
        self._codecs: dict[str, ServiceCodec] = {}

    def codec(self, service: str) -> ServiceCodec:
        """A service's codec. Raises AwsError for a service that is not behind this door."""
        found = self._codecs.get(service)
        if found is None:
            reason = refusal(service)
            if reason is not None:
                raise AwsError("NotImplementedException", reason, 501)
            try:
                operations = load_model(service).operations if service else ()
                found = ServiceCodec(service, operations)
            except UnknownService as error:
                message = f"There is no service {service!r}."
                raise AwsError("UnknownService", message, 404) from error
            self._codecs[service] = found
        return found

    def plain(self, service: str, request: Request, claim: Claim, key: bytes) -> Request:
        """The request as its service's model describes it. ``key`` is the signing key of its
        scope. Raises AwsError, and SignatureFault for a part of the body."""
        return whole(in_path(request), claim, key) if service == "s3" else request

    async def forward(
        self, context: Context, codec: ServiceCodec, operation: str, request: Request
    ) -> Response:
        """The answer to a plain request. Raises AwsError, and TryAgain."""
        host = codec.host(context.region)
        headers = {
            name: text
            for name, text in request.headers.items()
            if name not in _UNTOUCHED and not name.startswith("x-moto-")
        }
        headers |= {
            "host": host,
            "content-length": str(len(request.body)),
            **caller_headers(
                context.account, context.access_key, context.region, codec.signing_name
            ),
        }
        target = f"{request.path}?{request.raw_query}" if request.raw_query else request.path
        origin = ""
        if codec.name in _HOLDS_URLS:
            origin = f"http://{request.headers.get('host', host)}"
        forward = Forward(
            codec.name,
            host,
            request.method,
            target,
            headers,
            request.body,
            context.account,
            mutates(operation),
            origin,
        )
        try:
            answer = await self._tail.forward(forward)
        except NotServed as error:
            message = f"{operation} of {codec.name} is not served: {error}"
            raise AwsError("NotImplementedException", message, 501) from error
        return _shown(answer, request.method, context.request_id)


def _shown(answer: Response, method: str, request_id: str) -> Response:
    """The answer without what the HTTP shell says itself; a HEAD's length is the object's."""
    own = _OWN - {"content-length"} if method == "HEAD" else _OWN
    headers = {name: text for name, text in answer.headers.items() if name not in own}
    headers.setdefault("x-amzn-requestid", request_id)
    return replace(answer, headers=headers)
