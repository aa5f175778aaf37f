"""Objects as bytes: how they are stored, how they are served, how request bodies are read.

A stored body is compact JSON that begins with apiVersion, kind and metadata and holds no
resourceVersion; serving splices the version in, without decoding (DESIGN D8).
"""

from __future__ import annotations

from typing import Any

import orjson
import yaml

from proa.base.http import Request
from proa.kube.api.call import ApiError
from proa.kube.api.failures import bad_request
from proa.wire.kube.protobuf import decode as decode_protobuf

MAX_BODY = 3 * 1024 * 1024
_MARK = b'"metadata":{'
PROTOBUF = "application/vnd.kubernetes.protobuf"


def stored(obj: dict[str, Any]) -> bytes:
    """The bytes that are kept of an object."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
    head = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata}
    rest = {key: value for key, value in obj.items() if key not in head}
    return orjson.dumps({**head, **rest})


def served(body: bytes, version: int) -> bytes:
    """Stored bytes with their resourceVersion."""
    at = body.index(_MARK) + len(_MARK)
    return b'%b"resourceVersion":"%d",%b' % (body[:at], version, body[at:])


def loaded(body: bytes, version: int) -> dict[str, Any]:
    """A stored object as a dict of the caller's own, with its resourceVersion."""
    obj: dict[str, Any] = orjson.loads(body)
    obj["metadata"]["resourceVersion"] = str(version)
    return obj


def read_body(request: Request) -> dict[str, Any]:
    """The object in a request: JSON, YAML or protobuf. Raises ApiError."""
    if len(request.body) > MAX_BODY:
        raise ApiError(
            413,
            "RequestEntityTooLarge",
            f"Request entity too large: limit is {MAX_BODY}",
        )
    content_type = request.headers.get("content-type", "").split(";")[0].strip()
    try:
        if content_type == PROTOBUF:
            return decode_protobuf(request.body)
        if content_type in ("application/yaml", "application/x-yaml"):
            found = yaml.safe_load(request.body)
        elif content_type in ("", "application/json", "*/*"):
            found = orjson.loads(request.body)
        else:
            raise ApiError(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: "
                f"application/json, application/yaml, {PROTOBUF}",
            )
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(
            f"error decoding the body: couldn't get version/kind; json parse error: {error}"
        ) from error
    if not isinstance(found, dict):
        raise bad_request("couldn't get version/kind; json parse error: the body is no object")
    return found
