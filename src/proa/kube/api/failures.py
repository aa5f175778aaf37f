"""Failures in the API's own shape and words: metav1.Status bodies and the ApiErrors they show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from proa.base.http import Response
from proa.kube.api.call import ApiConflict, ApiError
from proa.kube.schema.errors import FieldError
from proa.kube.schema.kinds import Resource

JSON = {"content-type": "application/json"}


def status_body(error: ApiError) -> dict[str, Any]:
    """metav1.Status of a failure."""
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": error.metadata,
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "code": error.code,
    }
    if error.details:
        body["details"] = error.details
    return body


def failure(error: ApiError) -> Response:
    """The response of a failure."""
    headers = dict(JSON)
    seconds = (error.details or {}).get("retryAfterSeconds")
    if seconds is not None:
        headers["retry-after"] = str(seconds)
    return Response(error.code, orjson.dumps(status_body(error)), headers)


def _details(resource: Resource, name: str) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name, "kind": resource.name}
    if resource.group:
        details["group"] = resource.group
    return details


def not_found(resource: Resource, name: str) -> ApiError:
    """404 of one object."""
    message = f'{resource.group_resource} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(resource, name))


def no_such_path() -> ApiError:
    """404 of a path that nothing serves."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> ApiError:
    """409 of a creation."""
    message = f'{resource.group_resource} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(resource, name))


def modified(resource: Resource, name: str) -> ApiConflict:
    """409 of a write on an older version than the newest."""
    return ApiConflict(
        f'Operation cannot be fulfilled on {resource.group_resource} "{name}": the object has been '
        "modified; please apply your changes to the latest version and try again",
        _details(resource, name),
    )


def other_uid(resource: Resource, name: str, wanted: str, found: str) -> ApiConflict:
    """409 of a precondition on the identity."""
    return ApiConflict(
        f'Operation cannot be fulfilled on {resource.group_resource} "{name}": '
        f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}",
        _details(resource, name),
    )


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def invalid(resource: Resource, name: str, errors: Sequence[FieldError]) -> ApiError:
    """422 with a cause for each field."""
    texts = [error.message() for error in errors]
    shown = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {
        "name": name,
        "group": resource.group,
        "kind": resource.kind,
        "causes": [
            {"reason": error.type, "message": error.body(), "field": error.field}
            for error in errors
        ],
    }
    group = f".{resource.group}" if resource.group else ""
    message = f'{resource.kind}{group} "{name}" is invalid: {shown}'
    return ApiError(422, "Invalid", message, details)


def forbidden(resource: Resource, name: str, why: str) -> ApiError:
    """403 by admission or authorisation."""
    shown = f'{resource.group_resource} "{name}"' if name else resource.group_resource
    return ApiError(403, "Forbidden", f"{shown} is forbidden: {why}", _details(resource, name))


def too_large(limit: int) -> ApiError:
    """413."""
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}", {})


def expired(message: str) -> ApiError:
    """410: the history asked for is gone."""
    return ApiError(410, "Expired", message)


def method_not_allowed() -> ApiError:
    """405."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})
