"""What a protocol is to the gateway, and which one a request speaks.

A ``Protocol`` finds the operation a request names, and for each compiled operation parses the
request into an input and encodes an output or a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

from proa.base.http import Request, Response
from proa.wire.aws.errors import EncodeFault
from proa.wire.aws.faults import Malformed
from proa.wire.aws.model import Model, Shape

MAX_PARAMETERS = 20_000
MAX_LOOK = 4096
Labels = Mapping[str, str]
Parse = Callable[[Request, Labels], dict[str, Any]]
Encode = Callable[[Mapping[str, Any], str], Response]
_FORM = "application/x-www-form-urlencoded"


@dataclass(slots=True, frozen=True)
class OperationCodec:
    """One operation in one protocol: request → input (raises Malformed), output → response."""

    parse: Parse
    encode: Encode


@dataclass(slots=True)
class Protocol:
    """One protocol of one service. ``locate`` names the operation of a request, with its path
    labels, or raises UnknownOperation."""

    name: str
    locate: Callable[[Request], tuple[str, Labels]]
    encode_fault: EncodeFault
    operations: dict[str, OperationCodec] = field(default_factory=dict)


def is_form(request: Request) -> bool:
    """Whether the body is a form, as the query protocols send it."""
    return request.headers.get("content-type", "").startswith(_FORM)


def form_of(request: Request) -> list[tuple[str, str]]:
    """The parameters of a query-protocol request: the form body and the URL's query."""
    if not is_form(request):
        return _single(request.query)
    try:
        parameters = parse_qsl(
            request.body.decode(), keep_blank_values=True, max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:
        raise Malformed("the form could not be read") from error
    return _single([*parameters, *request.query])


def _single(parameters: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The parameters, each of which must be given once: readers differ in which of two counts."""
    found = list(parameters)
    if len({name for name, _ in found}) < len(found):
        raise Malformed("a parameter is given twice")
    return found


def detect(request: Request) -> str:
    """The protocol a request shows: json, smithy-rpc-v2-cbor, query (or ec2), or rest."""
    if request.headers.get("smithy-protocol") == "rpc-v2-cbor":
        return "smithy-rpc-v2-cbor"
    if "x-amz-target" in request.headers:
        return "json"
    if request.path == "/" and (is_form(request) or request.param("Action")):
        return "query"
    if is_form(request) and b"Action=" in request.body[:MAX_LOOK]:
        return "query"  # a form sent to a queue's own URL
    return "rest"


def load_json(body: bytes) -> Any:
    """A JSON body; an empty one is an empty structure. Raises Malformed."""
    if not body.strip():
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed("Unable to parse the request body as JSON") from error


def shapes_of(model: Model, operation: str) -> tuple[Shape | None, Shape | None]:
    """An operation's input and output shapes."""
    spec = model.operations[operation]
    given, returned = spec.get("input"), spec.get("output")
    return model.shape(given) if given else None, model.shape(returned) if returned else None
