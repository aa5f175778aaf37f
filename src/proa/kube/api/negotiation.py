"""What a client accepts: the object itself, a Table, or its metadata only."""

from __future__ import annotations

from typing import Any

import orjson

from proa.base.http import Request, Response
from proa.kube.api.call import ApiError
from proa.kube.api.failures import JSON
from proa.kube.schema import tables
from proa.kube.schema.kinds import Resource


def form_of(request: Request) -> str:
    """ "object", "table" or "metadata": the first form in Accept that this server has. Raises 406
    where it has none of them."""
    accept = request.headers.get("accept", "")
    if not accept:
        return "object"
    for part in accept.split(","):
        media, *parameters = [item.strip() for item in part.split(";")]
        options = dict(item.split("=", 1) for item in parameters if "=" in item)
        if media not in ("application/json", "*/*", "application/*"):
            continue
        wanted = options.get("as", "")
        if not wanted:
            return "object"
        if options.get("g") == "meta.k8s.io" and options.get("v") == "v1":
            if wanted == "Table":
                return "table"
            if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                return "metadata"
    if "protobuf" in accept or "yaml" in accept:
        return "object"  # answers are JSON whatever is asked for: clients decode by Content-Type
    raise ApiError(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json",
    )


def metadata_only(obj: dict[str, Any]) -> dict[str, Any]:
    """PartialObjectMetadata of an object."""
    return {
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": obj["metadata"],
    }


def shown(
    request: Request, resource: Resource, obj: dict[str, Any], now: float, status: int = 200
) -> Response:
    """One object in the form its client accepts."""
    form = form_of(request)
    if form == "table":
        obj = tables.table(resource, [obj], now, include_of(request))
    elif form == "metadata":
        obj = metadata_only(obj)
    return Response(status, orjson.dumps(obj), dict(JSON))


def include_of(request: Request) -> Any:
    """What a Table's rows carry of their objects."""
    return request.param("includeObject") or "Metadata"
