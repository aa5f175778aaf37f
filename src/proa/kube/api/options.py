"""The options of a write, from a query or a Call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proa.base.http import Request
from proa.kube.api.call import ApiError
from proa.kube.api.failures import bad_request
from proa.kube.schema.errors import NOT_SUPPORTED, FieldError

_FIELD_VALIDATION = ("Ignore", "Warn", "Strict")
_PROPAGATION = ("Foreground", "Background", "Orphan")


@dataclass(slots=True, frozen=True)
class WriteOptions:
    """``manager`` is who writes, for managedFields; ``applied`` says that the object already
    carries those of a server-side apply."""

    dry_run: bool = False
    field_validation: str = "Warn"
    manager: str = "unknown"
    force: bool = False
    applied: bool = False


def write_options(request: Request) -> WriteOptions:
    """Raises 400 for values that kube-apiserver refuses."""
    dry_run = [value for key, value in request.query if key == "dryRun"]
    if any(value != "All" for value in dry_run):
        raise bad_request(f'dryRun: Unsupported value: "{dry_run[0]}": supported values: "All"')
    validation = request.param("fieldValidation") or "Warn"
    if validation not in _FIELD_VALIDATION:
        raise bad_request(f"unsupported fieldValidation {validation!r}")
    agent = request.headers.get("user-agent", "unknown").split("/")[0] or "unknown"
    return WriteOptions(
        dry_run=bool(dry_run),
        field_validation=validation,
        manager=request.param("fieldManager") or agent,
        force=request.param("force") == "true",
    )


def flag(request: Request, name: str) -> bool:
    """A query parameter as Go's servers read a boolean: there, and neither "false" nor "0"."""
    return request.param(name).lower() not in ("", "false", "0")


def whole_number(request: Request, name: str) -> int:
    """A query parameter as a whole number, 0 where it is absent. Raises 400."""
    text = request.param(name)
    try:
        return int(text or 0)
    except ValueError as error:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def delete_options(request: Request, body: Mapping[str, Any]) -> dict[str, Any]:
    """DeleteOptions of a body of the right types, completed by the query. Raises 400 and 422
    (apimachinery's ValidateDeleteOptions)."""
    options = dict(body)
    if request.param("gracePeriodSeconds"):
        options.setdefault("gracePeriodSeconds", whole_number(request, "gracePeriodSeconds"))
    if request.param("propagationPolicy"):
        options.setdefault("propagationPolicy", request.param("propagationPolicy"))
    if request.param("orphanDependents"):
        options.setdefault("orphanDependents", request.param("orphanDependents") == "true")
    stages = [value for key, value in request.query if key == "dryRun"]
    if stages:
        options.setdefault("dryRun", stages)
    check_delete_options(options)
    return options


def check_delete_options(options: Mapping[str, Any]) -> None:
    """Raises 422 for values that DeleteOptions may not have."""
    errors = []
    policy = options.get("propagationPolicy")
    if policy is not None and policy not in _PROPAGATION:
        errors.append(_unsupported("propagationPolicy", policy, (*_PROPAGATION, "nil")))
    stages = options.get("dryRun") or []
    if any(stage != "All" for stage in stages):
        errors.append(_unsupported("dryRun", stages, ("All",)))
    if errors:
        texts = [error.message() for error in errors]
        shown = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        message = f'DeleteOptions.meta.k8s.io "" is invalid: {shown}'
        raise ApiError(422, "Invalid", message, {"kind": "DeleteOptions", "group": "meta.k8s.io"})


def _unsupported(field: str, value: object, supported: tuple[str, ...]) -> FieldError:
    shown = ", ".join(f'"{item}"' for item in supported)
    return FieldError(NOT_SUPPORTED, field, f"supported values: {shown}", value)
