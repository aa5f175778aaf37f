"""Requests for the long tail, said in one way only.

moto finds operation and parameters in places where AWS does not look: an ``Action`` in the URL of
a JSON service, in a header, or between two ampersands of a JSON text. What was authorised must be
what is carried out, so the gateway's door hands on a request rebuilt from what its own codec
reads: one place for every parameter, and nothing else. Called once the operation is known, before
its input is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from msgspec.structs import replace

from proa.aws.gateway.service import AwsError
from proa.base.http import Request
from proa.wire.aws.model import Shape, load_model
from proa.wire.aws.protocol import form_of, is_form

_FORM = "application/x-www-form-urlencoded; charset=utf-8"
_ELSEWHERE = ("action", "x-amz-target")  # headers in which moto looks for an operation
_AMPERSAND = b"\\u0026"  # in JSON an ampersand stands in strings only
_ALSO_EXCLUSIVE = frozenset({"list-type", "uploadId"})


def plain(service: str, protocol: str, operation: str, request: Request) -> Request:
    """The request with nothing in it but what ``operation`` reads. Raises AwsError for an S3
    request that names two subresources, Malformed for a form that cannot be read."""
    if service == "s3":
        _check_subresources(request)
        return replace(request, headers=_headers(request, _ELSEWHERE))
    if protocol in ("query", "ec2"):
        return _of_form(request)
    if protocol == "json":
        return _of_json(request)
    return _of_rest(service, operation, request)


def _headers(request: Request, without: tuple[str, ...]) -> dict[str, str]:
    return {name: text for name, text in request.headers.items() if name not in without}


def _of_form(request: Request) -> Request:
    headers = _headers(request, (*_ELSEWHERE, "content-type"))
    if not is_form(request):
        return replace(request, headers=headers, body=b"")
    body = urlencode(form_of(request)).encode()
    return replace(
        request, headers={**headers, "content-type": _FORM}, body=body, query=(), raw_query=""
    )


def _of_json(request: Request) -> Request:
    headers = _headers(request, ("action",))
    if not headers.get("content-type", "").startswith("application/x-amz-json"):
        headers["content-type"] = "application/x-amz-json-1.1"
    body = request.body.replace(b"&", _AMPERSAND) or b"{}"
    return replace(request, headers=headers, body=body, query=(), raw_query="")


def _of_rest(service: str, operation: str, request: Request) -> Request:
    headers = _headers(request, _ELSEWHERE)
    if headers.get("content-type", "").startswith(("multipart/", "application/x-www-form")):
        del headers["content-type"]
    told = _told(service, operation)
    raw = request.raw_query
    if told.query is not None:
        kept = [part for part in raw.split("&") if _name(part) in told.query]
        raw = "&".join(kept)
    query = tuple(parse_qsl(raw, keep_blank_values=True))
    body = _members(request.body, told.body) if told.body is not None else request.body
    return replace(request, headers=headers, query=query, raw_query=raw, body=body)


def _name(part: str) -> str:
    found = parse_qsl(part, keep_blank_values=True)
    return found[0][0] if found else ""


class _Told:
    """Where a REST operation's input stands: names in the query (None: any), names of the JSON
    body's members (None: the body is not JSON of ours to read)."""

    def __init__(self, query: frozenset[str] | None, body: frozenset[str] | None) -> None:
        self.query, self.body = query, body


@cache
def _told(service: str, operation: str) -> _Told:
    model = load_model(service)
    spec: Mapping[str, Any] = model.operations[operation]
    fixed = {part.partition("=")[0] for part in _fixed(spec).split("&")}
    if "input" not in spec:
        return _Told(frozenset(fixed), frozenset())
    shape: Shape = model.shape(spec["input"])
    query: set[str] | None = fixed
    body: set[str] = set()
    for name, ref in shape.members.items():
        member = model.shape(ref)
        if ref.get("location") == "querystring" and query is not None:
            query = None if member.type == "map" else query | {member.wire_name(name)}
        elif "location" not in ref:
            body.add(member.wire_name(name))
    json = "rest-json" in model.protocols and "payload" not in shape.traits
    return _Told(None if query is None else frozenset(query), frozenset(body) if json else None)


def _fixed(spec: Mapping[str, Any]) -> str:
    return str(spec["http"]["requestUri"]).partition("?")[2]


def _members(body: bytes, names: frozenset[str]) -> bytes:
    """A JSON object without members that the model does not know; what is no object is left to
    the codec, which refuses it."""
    if not body.strip():
        return body
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.replace(b"&", _AMPERSAND)
    if isinstance(given, dict) and not given.keys() <= names:
        body = orjson.dumps({name: value for name, value in given.items() if name in names})
    return body.replace(b"&", _AMPERSAND)


@cache
def _subresources() -> frozenset[str]:
    """What S3's routes tell apart by a name in the query alone."""
    specs = load_model("s3").operations.values()
    parts = (part.partition("=") for spec in specs for part in _fixed(spec).split("&"))
    return frozenset(name for name, _, value in parts if name and not value) | _ALSO_EXCLUSIVE


def _check_subresources(request: Request) -> None:
    """Raise S3's error for a request that could be taken for either of two operations."""
    found = sorted({name for name, _ in request.query} & _subresources())
    if len(found) > 1:
        message = f"Conflicting query string parameters: {', '.join(found)}"
        raise AwsError("InvalidArgument", message, 400)
