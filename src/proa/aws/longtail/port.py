"""The port behind which the long tail lies: what the gateway and other slices may ask of it.

``longtail.process`` carries it out with a moto worker; in simulation there is none and ``Absent``
refuses. Callers have been verified and authorised before.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from urllib.parse import quote

from proa.base.errors import CallerFault
from proa.base.http import Response

_ELEMENT = "<{0}>(.*?)</{0}>"


class NotServed(CallerFault):
    """The long tail has no such service or operation."""


@dataclass(slots=True, frozen=True)
class Forward:
    """A request to carry out. ``service`` is botocore's name, ``host`` AWS's name of the endpoint
    (``sqs.us-east-1.amazonaws.com``), ``target`` path and query as sent. ``mutates`` says that
    the answer may be given only once the change is durable; ``origin`` is the address that the
    caller used, where answers should hold it."""

    service: str
    host: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    account: str
    mutates: bool
    origin: str = ""


class LongTail(ABC):
    """AWS services that somebody else implements."""

    @abstractmethod
    async def forward(self, forward: Forward) -> Response:
        """Carry out a request. Raises NotServed, and TryAgain where it cannot be answered now;
        whether it was carried out is then unknown."""

    async def object(self, account: str, region: str, bucket: str, key: str) -> bytes:
        """The content of an S3 object. Raises CallerFault with S3's message where there is no
        such object, TryAgain where S3 cannot be asked now."""
        host = f"s3.{region}.amazonaws.com"
        target = f"/{quote(bucket, safe='')}/{quote(key)}"
        headers = {"host": host, **caller_headers(account, "proa", region, "s3")}
        answer = await self.forward(
            Forward("s3", host, "GET", target, headers, b"", account, mutates=False)
        )
        if answer.status == 200:
            return answer.body
        code, message = _xml_text(answer.body, "Code"), _xml_text(answer.body, "Message")
        raise CallerFault(f"{code}: {message}" if code else f"S3 answered {answer.status}")

    async def close(self) -> None:  # noqa: B027 - most have nothing to end
        """End what runs on its behalf."""


class Absent(LongTail):
    """Where there is no long tail."""

    async def forward(self, forward: Forward) -> Response:
        raise NotServed(f"Proa does not serve {forward.service!r} here.")


def caller_headers(account: str, access_key: str, region: str, signing_name: str) -> dict[str, str]:
    """What tells the other side who calls, in which region: it believes it unverified."""
    scope = f"{access_key}/20000101/{region}/{signing_name}/aws4_request"
    return {
        "x-moto-account-id": account,
        "authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
    }


def _xml_text(body: bytes, name: str) -> str:
    found = re.search(_ELEMENT.format(name), body.decode(errors="replace"), re.DOTALL)
    return _unescaped(found.group(1)) if found else ""


def _unescaped(text: str) -> str:
    """The standard library's ``unescape`` brings an HTTP client with it."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
