"""Objects as bytes: how they are stored, how they are served, how request bodies are read.

A stored body is compact JSON that begins with apiVersion, kind and metadata and holds no
resourceVersion; serving splices the version in, without decoding (DESIGN D8).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

from proa.base.http import Request
from proa.kube.api.call import ApiError
from proa.kube.api.duplicates import duplicate_fields
from proa.kube.api.failures import bad_request, too_large
from proa.kube.schema.defaults import apply_defaults
from proa.kube.schema.kinds import Kinds, Resource
from proa.kube.schema.versions import in_version
from proa.reconcile.view import Entry
from proa.wire.kube.protobuf import decode as decode_protobuf

MAX_BODY = 3 * 1024 * 1024
_MARK = b'"metadata":{'
PROTOBUF = "application/vnd.kubernetes.protobuf"


def stored(obj: dict[str, Any]) -> bytes:
    """The bytes that are kept of an object. Raises 400 for one that is nested too deep."""
    in_order = {"apiVersion": None, "kind": None, "metadata": None, **obj}
    if "resourceVersion" in obj["metadata"]:
        metadata = in_order["metadata"] = dict(obj["metadata"])
        del metadata["resourceVersion"]
    try:
        return orjson.dumps(in_order)
    except orjson.JSONEncodeError as error:
        raise bad_request(f"the object cannot be encoded: exceeded max depth ({error})") from error


def served(body: bytes, version: int) -> bytes:
    """Stored bytes with their resourceVersion."""
    at = body.index(_MARK) + len(_MARK)
    return b'%b"resourceVersion":"%d",%b' % (body[:at], version, body[at:])


def loaded(body: bytes, version: int) -> dict[str, Any]:
    """A stored object as a dict of the caller's own, with its resourceVersion."""
    obj: dict[str, Any] = orjson.loads(body)
    obj["metadata"]["resourceVersion"] = str(version)
    return obj


def opened(resource: Resource, entry: Entry[Any]) -> dict[str, Any]:
    """A stored object of a resource, in the resource's version, as a dict of the caller's own."""
    obj = loaded(entry.body, entry.version)
    return in_version(obj, resource.api_version) if resource.versioned else obj


def shown(resource: Resource, entry: Entry[Any]) -> bytes:
    """A stored object of a resource as it is served: as it lies, unless its version is another."""
    if resource.versioned:
        return orjson.dumps(opened(resource, entry))
    return served(entry.body, entry.version)


def kept(kinds: Kinds, resource: Resource, obj: dict[str, Any]) -> bytes:
    """The bytes that are kept of an object of a resource, in the version in which that is kept.
    Raises 400 for one that is nested too deep."""
    group, version = resource.home
    if resource.versioned and (group, version) != (resource.group, resource.version):
        home = kinds.find(group, version, resource.name)
        assert home is not None, f"{resource.name} is kept as {group}/{version}"
        obj = in_version(orjson.loads(orjson.dumps(obj)), home.api_version)
        apply_defaults(home, obj)
    return stored(obj)


def check_size(request: Request) -> None:
    """Raises 413 for a body over kube-apiserver's limit, whatever it holds."""
    if len(request.body) > MAX_BODY:
        raise too_large(MAX_BODY)


def read_body(request: Request) -> dict[str, Any]:
    """The object in a request: JSON, YAML or protobuf. Raises ApiError."""
    return read_object(request, "")[0]


def read_object(request: Request, kind: str) -> tuple[dict[str, Any], list[str]]:
    """The object in a request, and what a strict decoder says of fields that stand twice in it;
    ``kind`` is what it should be. Raises ApiError 400 and 415."""
    content_type = _media_type(request.headers.get("content-type", ""))
    said: list[str] = []
    try:
        if content_type in ("application/json", "", "*/*"):
            found = read_json(request.body)
            if twice := duplicate_fields(request.body, found):
                said = [f'duplicate field "{path}"' for path in twice]
        elif content_type == PROTOBUF:
            return decode_protobuf(request.body), said
        elif content_type in ("application/yaml", "application/x-yaml"):
            found, said = _read_yaml(request.body)
        else:
            raise unsupported_type(f"application/json, application/yaml, {PROTOBUF}")
    except ValueError as error:
        raise _unrecognized(kind, f"couldn't get version/kind; json parse error: {error}",
                            request.body) from error  # fmt: skip
    if not isinstance(found, dict):
        what = "array" if isinstance(found, list) else "value"
        why = (
            f"couldn't get version/kind; json parse error: json: cannot unmarshal {what} into Go "
            "value of type struct { APIVersion string; Kind string }"
        )
        raise _unrecognized(kind, why, request.body)
    return found, said


@lru_cache(maxsize=64)
def _media_type(text: str) -> str:
    """A Content-Type without its parameters."""
    return text.partition(";")[0].strip()


def read_json(body: bytes) -> Any:
    """A JSON text. Raises ValueError with the usual cases in Go's words."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if error.pos >= len(body.rstrip()):
            raise ValueError("unexpected end of JSON input") from error
        raise ValueError(str(error)) from error


def unsupported_type(accepted: str) -> ApiError:
    """415."""
    return ApiError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        f"{accepted}",
    )


def _unrecognized(kind: str, why: str, body: bytes) -> ApiError:
    """400 with the beginning of the body, as text where it looks like JSON."""
    shown = "<empty>"
    if body:
        start = body[:30]
        shown = start.decode(errors="replace") if body.startswith(b"{") else start.hex()
        shown += " ..." if len(body) > len(start) else ""
    must = f" (must be of type {kind})" if kind else ""
    return bad_request(f"the object provided is unrecognized{must}: {why} ({shown})")


def read_patch(request: Request) -> tuple[Any, list[str]]:
    """The JSON of a patch that is no apply, and what is said of fields that stand twice in it.
    Raises 400."""
    try:
        found = read_json(request.body)
        twice = duplicate_fields(request.body, found)
    except ValueError as error:
        raise bad_request(f"error decoding patch: {error}") from error
    return found, [f'duplicate field "{path}"' for path in twice]


def read_apply(request: Request, *, strict: bool) -> dict[str, Any]:
    """The configuration of a server-side apply: YAML, and most often the JSON within YAML, which
    is read a hundred times faster as what it is. Raises 400, if ``strict`` also for keys that
    stand twice."""
    try:
        found = orjson.loads(request.body)
        twice = [f'key "{path}" already set in map'
                 for path in duplicate_fields(request.body, found)]  # fmt: skip
    except ValueError:
        try:
            found, twice = _read_yaml(request.body)
        except ValueError as error:
            raise bad_request(f"error decoding YAML: {error}") from error
    if twice and strict:
        raise bad_request(f"error strict decoding YAML: {', '.join(twice)}")
    if not isinstance(found, dict):
        raise bad_request("error decoding YAML: the body is no object")
    return found


def _read_yaml(body: bytes) -> tuple[Any, list[str]]:
    from proa.kube.api.yaml_body import read_yaml_strictly  # on first use: clients send JSON

    return read_yaml_strictly(body)
