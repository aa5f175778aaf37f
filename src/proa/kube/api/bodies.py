"""Objects as bytes: how they are stored, how they are served, how request bodies are read.

A stored body is compact JSON that begins with apiVersion, kind and metadata and holds no
resourceVersion; serving splices the version in, without decoding (DESIGN D8).
"""

from __future__ import annotations

from typing import Any

import orjson

from proa.base.http import Request
from proa.kube.api.call import ApiError
from proa.kube.api.failures import bad_request, too_large
from proa.kube.api.yaml_body import read_yaml
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


def check_size(request: Request) -> None:
    """Raises 413 for a body over kube-apiserver's limit, whatever it holds."""
    if len(request.body) > MAX_BODY:
        raise too_large(MAX_BODY)


def read_body(request: Request) -> dict[str, Any]:
    """The object in a request: JSON, YAML or protobuf. Raises ApiError."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip()
    try:
        if content_type == PROTOBUF:
            return decode_protobuf(request.body)
        if content_type in ("application/yaml", "application/x-yaml"):
            found = read_yaml(request.body)
        elif content_type in ("", "application/json", "*/*"):
            found = orjson.loads(request.body)
        else:
            raise ApiError(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: "
                f"application/json, application/yaml, {PROTOBUF}",
            )
    except ValueError as error:
        raise bad_request(
            f"error decoding the body: couldn't get version/kind; json parse error: {error}"
        ) from error
    if not isinstance(found, dict):
        raise bad_request("couldn't get version/kind; json parse error: the body is no object")
    return found


def read_patch(request: Request) -> Any:
    """The JSON of a patch that is no apply. Raises 400."""
    try:
        return orjson.loads(request.body)
    except ValueError as error:
        raise bad_request(f"error decoding patch: {error}") from error


def read_apply(request: Request) -> dict[str, Any]:
    """The configuration of a server-side apply: YAML, and most often the JSON within YAML, which
    is read a hundred times faster as what it is. Raises 400."""
    try:
        found = orjson.loads(request.body)
    except ValueError:
        try:
            found = read_yaml(request.body)
        except ValueError as error:
            raise bad_request(f"error decoding YAML: {error}") from error
    if not isinstance(found, dict):
        raise bad_request("error decoding YAML: the body is no object")
    return found
