"""The schema half as the API server uses it: one object for prune, default, validate, patch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proa.kube.api.call import ApiError
from proa.kube.api.failures import bad_request, invalid
from proa.kube.api.options import WriteOptions
from proa.kube.schema import defaults, merge, rules, validate
from proa.kube.schema.kinds import Resource

PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


def admitted_form(
    resource: Resource, obj: dict[str, Any], field_validation: str
) -> tuple[dict[str, Any], list[str]]:
    """The object without unknown fields and with defaults, and warnings about what was dropped.

    Raises 400 for wrong types, and for unknown fields under Strict."""
    wrong = validate.decode_error(resource, obj)
    if wrong:
        kind = resource.kind
        raise bad_request(
            f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {wrong}'
        )
    unknown = validate.unknown_fields(resource, obj) if field_validation != "Ignore" else []
    if unknown and field_validation == "Strict":
        kind = resource.kind
        raise bad_request(
            f'{kind} in version "{resource.version}" cannot be handled as a {kind}: '
            f"strict decoding error: {', '.join(unknown)}"
        )
    pruned = validate.prune_unknown(resource, obj)
    defaults.apply_defaults(resource, pruned)
    return pruned, unknown


DELETE_OPTIONS = ("v1", "DeleteOptions", "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")
SCALE = ("v1", "Scale", "io.k8s.api.autoscaling.v1.Scale")
BINDING = ("v1", "Binding", "io.k8s.api.core.v1.Binding")
EVICTION = ("v1", "Eviction", "io.k8s.api.policy.v1.Eviction")


def check_types(builtin: Resource, form: tuple[str, str, str], body: dict[str, Any]) -> None:
    """Raises 400 where a body that is no stored object (a Scale, DeleteOptions) has wrong types.
    ``builtin`` is any built-in resource: its definitions hold all of these."""
    version, kind, definition = form
    shown = replace(builtin, version=version, kind=kind, schema_ref=definition)
    wrong = validate.decode_error(shown, body)
    if wrong:
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {wrong}')


def check(resource: Resource, old: dict[str, Any] | None, new: dict[str, Any]) -> None:
    """Raises 422 for what the kind's rules forbid."""
    errors = (
        rules.check_create(resource, new) if old is None else rules.check_update(resource, old, new)
    )
    if errors:
        metadata = new["metadata"]
        raise invalid(resource, metadata.get("name") or metadata.get("generateName", ""), errors)


def patched(
    resource: Resource, current: dict[str, Any], patch: Any, patch_type: str
) -> dict[str, Any]:
    """The object after a patch that is no apply. Raises ApiError."""
    if patch_type in PATCH_TYPES[1:3] and not isinstance(patch, dict):
        raise bad_request("error decoding patch: the patch is no object")
    try:
        if patch_type == "application/json-patch+json":
            result = merge.json_patch(current, patch)
        elif patch_type == "application/merge-patch+json":
            result = merge.merge_patch(current, patch)
        elif patch_type == "application/strategic-merge-patch+json":
            result = merge.strategic_merge(resource, current, patch)
        else:
            raise ApiError(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: "
                + ", ".join(PATCH_TYPES[:3]),
            )
    except merge.PatchError as error:
        reason = "Invalid" if error.status == 422 else "BadRequest"
        raise ApiError(error.status, reason, str(error)) from error
    if not isinstance(result, dict) or not isinstance(result.get("metadata", {}), dict | None):
        raise bad_request("the patch does not leave an object")
    return result


def applied(
    resource: Resource,
    live: dict[str, Any] | None,
    configuration: dict[str, Any],
    options: WriteOptions,
    now: float,
    subresource: str,
) -> dict[str, Any]:
    """The object after a server-side apply, with its managedFields. Raises 409 with every
    conflicting field and its owner, 400 for wrong types."""
    wrong = validate.decode_error(resource, configuration)
    if wrong:
        raise bad_request(f"failed to create typed patch object: {wrong}")
    try:
        return merge.apply_patch(
            resource,
            live,
            configuration,
            manager=options.manager,
            force=options.force,
            now=now,
            subresource=subresource,
        )
    except merge.ApplyConflict as conflict:
        shown = ", ".join(f'conflict with "{owner}": {path}' for owner, _, path in conflict.causes)
        causes = [
            {
                "reason": "FieldManagerConflict",
                "message": f'conflict with "{owner}" using {version}',
                "field": path,
            }
            for owner, version, path in conflict.causes
        ]
        count = len(causes)
        noun = "conflict" if count == 1 else "conflicts"
        raise ApiError(
            409, "Conflict", f"Apply failed with {count} {noun}: {shown}", {"causes": causes}
        ) from conflict
