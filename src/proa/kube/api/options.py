"""The options of a write, from a query or a Call."""

from __future__ import annotations

from dataclasses import dataclass

from proa.base.http import Request
from proa.kube.api.failures import bad_request

_FIELD_VALIDATION = ("Ignore", "Warn", "Strict")


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
