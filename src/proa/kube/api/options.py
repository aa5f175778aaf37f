"""The options of a write, from a query or a Call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from proa.base.http import Request
from proa.kube.api.call import ApiError
from proa.kube.api.context import Json
from proa.kube.api.failures import bad_request
from proa.kube.schema.errors import (
    FORBIDDEN,
    NOT_SUPPORTED,
    REQUIRED,
    FieldError,
    invalid,
    too_long,
)

_FIELD_VALIDATION = ("", "Ignore", "Strict", "Warn")
MANAGER_MAX = 128
_PROPAGATION = ("Foreground", "Background", "Orphan")


def _anything(_obj: Json) -> None:
    """Approves of every object."""


class WriteOptions(Struct, frozen=True):
    """``manager`` is who writes, for managedFields; ``applied`` says that the object already
    carries those of a server-side apply. ``said`` is what a strict decoder says of the body,
    ``patch`` the text of a patch, which its errors repeat. ``approve`` sees the object as it will
    be, well formed, and raises ApiError where its writer may not write that."""

    dry_run: bool = False
    field_validation: str = "Warn"
    manager: str = "unknown"
    force: bool = False
    applied: bool = False
    said: tuple[str, ...] = ()
    patch: str = ""
    approve: Callable[[Json], None] = _anything


def write_options(
    request: Request,
    form: str,
    *,
    applying: bool = False,
) -> WriteOptions:
    """The options of a query; ``form`` names them in errors (CreateOptions, …). Raises 422 for
    values that apimachinery's validation refuses."""
    agent = request.headers.get("user-agent", "")
    if not request.query and not applying:  # as most requests are
        return _usual_options(agent)
    stages = [value for key, value in request.query if key == "dryRun"]
    validation = request.param("fieldValidation")
    manager, force = request.param("fieldManager"), request.param("force")
    errors = []
    if applying and not manager:
        errors.append(FieldError(REQUIRED, "fieldManager", "is required for apply patch"))
    if force and form == "PatchOptions" and not applying:
        errors.append(FieldError(FORBIDDEN, "force", "may not be specified for non-apply patch"))
    if len(manager) > MANAGER_MAX:
        errors.append(too_long("fieldManager", MANAGER_MAX))
    if not manager.isprintable():
        errors.append(invalid("fieldManager", manager, "should only contain printable characters"))
    if any(stage != "All" for stage in stages):
        errors.append(_unsupported("dryRun", stages, ("All",)))
    if validation not in _FIELD_VALIDATION:
        errors.append(_unsupported("fieldValidation", validation, _FIELD_VALIDATION))
    if errors:
        raise refused_options(form, errors)
    return WriteOptions(
        dry_run=bool(stages),
        field_validation=validation or "Warn",
        manager=manager or _manager_of(agent),
        force=flag(request, "force"),
    )


def _manager_of(agent: str) -> str:
    """Who writes where the request does not say: the program's name, without its version."""
    return agent.split("/")[0] or "unknown"


@lru_cache(maxsize=256)
def _usual_options(agent: str) -> WriteOptions:
    return WriteOptions(manager=_manager_of(agent))


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
        options.setdefault("orphanDependents", flag(request, "orphanDependents"))
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
        raise refused_options("DeleteOptions", errors)


def refused_options(form: str, errors: Sequence[FieldError]) -> ApiError:
    """422 of options that a request may not have; ``form`` is their kind."""
    texts = [error.message() for error in errors]
    shown = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [
        {"reason": error.type, "message": error.body(), "field": error.field} for error in errors
    ]
    details = {"kind": form, "group": "meta.k8s.io", "causes": causes}
    return ApiError(422, "Invalid", f'{form}.meta.k8s.io "" is invalid: {shown}', details)


def _unsupported(field: str, value: object, supported: tuple[str, ...]) -> FieldError:
    shown = ", ".join(f'"{item}"' for item in supported)
    return FieldError(NOT_SUPPORTED, field, f"supported values: {shown}", value)
