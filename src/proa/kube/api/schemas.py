"""The schema half as the API server uses it: one object for prune, default, validate, patch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import Struct

from proa.kube.api.bodies import unsupported_type
from proa.kube.api.call import ApiError
from proa.kube.api.failures import bad_request, invalid
from proa.kube.api.options import WriteOptions
from proa.kube.schema import defaults, merge, rules, validate
from proa.kube.schema.errors import INVALID, FieldError
from proa.kube.schema.kinds import Resource

PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


# Whose objects a PUT creates where there is none (their strategies' AllowCreateOnUpdate).
CREATED_BY_UPDATE = frozenset(
    {
        ("", "endpoints"),
        ("", "services"),
        ("", "events"),
        ("", "limitranges"),
        ("events.k8s.io", "events"),
        ("coordination.k8s.io", "leases"),
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
    }
)


def created_by_update(resource: Resource) -> bool:
    """Whether a PUT makes what is not there."""
    return resource.group_name in CREATED_BY_UPDATE


class Form(Struct, frozen=True):
    """An object as it is admitted. ``whole`` says that it fitted its schema as it came: nothing
    that has to be there is missing. ``warnings`` are about what was dropped."""

    obj: dict[str, Any]
    whole: bool
    warnings: list[str]


def admitted_form(resource: Resource, obj: dict[str, Any], options: WriteOptions) -> Form:
    """The object without unknown fields and with defaults.

    Raises 400 for wrong types; under Strict 400 (422 in a patch) for unknown and repeated
    fields."""
    kind = resource.kind
    whole = validate.fits(resource, obj)
    if whole and (options.field_validation == "Ignore" or not options.said):
        defaults.apply_defaults(resource, obj)
        return Form(obj, whole, [])
    wrong = validate.decode_error(resource, obj)
    if wrong:
        raise bad_request(
            f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {wrong}'
        )
    said: list[str] = []
    if options.field_validation != "Ignore":
        said = [*options.said, *validate.unknown_fields(resource, obj)]
    if said and options.field_validation == "Strict":
        why = f"strict decoding error: {', '.join(said)}"
        if options.patch:
            error = FieldError(INVALID, "patch", why, options.patch)
            raise ApiError(422, "Invalid", f' "" is invalid: {error.message()}', {
                "causes": [{"reason": INVALID, "message": error.body(), "field": "patch"}]
            })  # fmt: skip
        raise bad_request(
            f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {why}'
        )
    pruned = validate.prune_unknown(resource, obj)
    defaults.apply_defaults(resource, pruned)
    return Form(pruned, whole, said)


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


def check(
    resource: Resource, old: dict[str, Any] | None, new: dict[str, Any], *, whole: bool = False
) -> None:
    """Raises 422 for what the kind's rules forbid. ``whole`` as in ``Form``."""
    if old is None:
        errors = rules.check_create(resource, new, whole=whole)
    else:
        errors = rules.check_update(resource, old, new, whole=whole)
    if errors:
        metadata = new["metadata"]
        raise invalid(resource, metadata.get("name") or metadata.get("generateName", ""), errors)


def check_patch_type(resource: Resource, patch_type: str) -> None:
    """Raises 415 for content types that are no patches, or none of this kind."""
    served = PATCH_TYPES if resource.schemas is not None else (*PATCH_TYPES[:2], PATCH_TYPES[3])
    if patch_type not in served:
        raise unsupported_type(", ".join(served))


def patched(
    resource: Resource, current: dict[str, Any], patch: Any, patch_type: str
) -> dict[str, Any]:
    """The object after a patch that is no apply. It carries a resourceVersion only where the
    patch says one: other patches may be tried again on a newer object. Raises ApiError."""
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
            raise unsupported_type(", ".join(PATCH_TYPES[:3]))
    except merge.PatchError as error:
        reason = "Invalid" if error.status == 422 else "BadRequest"
        raise ApiError(error.status, reason, str(error)) from error
    if not isinstance(result, dict) or not isinstance(result.get("metadata", {}), dict | None):
        raise bad_request("the patch does not leave an object")
    if result.get("metadata") and not _names_version(patch):
        result["metadata"].pop("resourceVersion", None)
    return result


def _names_version(patch: Any) -> bool:
    """Whether a patch of any type writes metadata.resourceVersion."""
    if isinstance(patch, list):
        return any(item.get("path") == "/metadata/resourceVersion" and item.get("op") != "test"
                   for item in patch)  # fmt: skip
    return bool((patch.get("metadata") or {}).get("resourceVersion"))


def applied(
    resource: Resource,
    live: dict[str, Any] | None,
    configuration: dict[str, Any],
    options: WriteOptions,
    now: float,
    subresource: str,
) -> dict[str, Any]:
    """The object after a server-side apply, with its managedFields. Raises 409 with every
    conflicting field and its owner, 400 for wrong types and for another kind or version."""
    _check_configuration(resource, configuration)
    wrong = validate.decode_error(resource, configuration)
    if wrong:
        raise bad_request(f"failed to create typed patch object: {wrong}")
    try:
        result = merge.apply_patch(
            resource,
            live,
            configuration,
            manager=options.manager,
            force=options.force,
            now=now,
            subresource=subresource,
        )
        if not _names_version(configuration):
            result["metadata"].pop("resourceVersion", None)
        return result
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


def _check_configuration(resource: Resource, configuration: dict[str, Any]) -> None:
    """Raises 400 for an apply that is not of this kind, or that says who owns which field."""
    version, kind = configuration.get("apiVersion", ""), configuration.get("kind", "")
    if version != resource.api_version:
        raise bad_request(
            f"Incorrect version specified in apply patch. Specified patch version: {version}, "
            f"expected: {resource.api_version}"
        )
    if kind != resource.kind:
        raise bad_request(
            f'failed to create typed patch object: kind "{kind}" is not "{resource.kind}"'
        )
    metadata = configuration.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
