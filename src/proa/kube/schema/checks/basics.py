"""Checks that every area uses: metadata, label selectors, ranges (apimachinery's validation).

Every check takes a value and its path and returns what is wrong, in kube-apiserver's words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proa.kube.schema.errors import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    required,
    too_long,
    unsupported,
)
from proa.kube.schema.names import (
    dns1035_faults,
    label_faults,
    label_key_faults,
    label_value_faults,
    path_segment_faults,
    qualified_name_faults,
    subdomain_faults,
)
from proa.kube.schema.selectors import SelectorError, label_selector_object
from proa.kube.schema.sound import are_sound_labels, is_sound_metadata

JSON = dict[str, Any]
Errors = list[FieldError]
Faults = Callable[[str], list[str]]
IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"
ANNOTATION_BYTES = 256 * 1024
CRON_JOB_NAME_LENGTH = 52
_STANDARD_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes")


def _cron_job_name(text: str) -> list[str]:
    faults = subdomain_faults(text)
    if len(text) > CRON_JOB_NAME_LENGTH:
        faults.append(f"must be no more than {CRON_JOB_NAME_LENGTH} characters")
    return faults


_NAMES: dict[tuple[str, str], Faults] = {
    ("", "Namespace"): label_faults,
    ("", "Service"): dns1035_faults,
    ("batch", "CronJob"): _cron_job_name,
    ("certificates.k8s.io", "CertificateSigningRequest"): path_segment_faults,
    **{
        ("rbac.authorization.k8s.io", kind): path_segment_faults
        for kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
    },
}


def check_metadata(group_kind: tuple[str, str], metadata: JSON) -> Errors:
    """Of any object."""
    faults = _NAMES.get(group_kind, subdomain_faults)
    return [] if is_sound_metadata(faults, metadata) else metadata_errors(faults, metadata)


def metadata_errors(faults: Faults, metadata: JSON) -> Errors:
    """The rules themselves; ``faults`` is that of the name."""
    errors: Errors = []
    name, prefix = metadata.get("name", ""), metadata.get("generateName", "")
    if not name and not prefix:
        errors.append(required("metadata.name", "name or generateName is required"))
    if name:
        errors += [invalid("metadata.name", name, fault) for fault in faults(name)]
    elif prefix:
        masked = f"{prefix[:-1]}a" if prefix.endswith("-") and len(prefix) > 1 else prefix
        errors += [invalid("metadata.generateName", prefix, fault) for fault in faults(masked)]
    if labels := metadata.get("labels"):
        errors += label_errors(labels, "metadata.labels")
    if annotations := metadata.get("annotations"):
        errors += check_annotations(annotations, "metadata.annotations")
    for index, finalizer in enumerate(metadata.get("finalizers", ())):
        errors += _check_finalizer(finalizer, f"metadata.finalizers[{index}]")
    if owners := metadata.get("ownerReferences"):
        errors += _check_owners(owners)
    return errors


def check_metadata_update(old: JSON, new: JSON) -> Errors:
    """What of metadata may not change."""
    errors: Errors = []
    for name in ("name", "namespace", "uid", "creationTimestamp"):
        if name in old and new.get(name) != old[name]:
            errors.append(invalid(f"metadata.{name}", new.get(name), IMMUTABLE))
    if old.get("deletionTimestamp"):
        before = old.get("finalizers", ())
        added = [item for item in new.get("finalizers", ()) if item not in before]
        if added:
            listed = ", ".join(f'"{item}"' for item in added)
            errors.append(
                forbidden(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, "
                    f"found new finalizers []string{{{listed}}}",
                )
            )
    return errors


def check_labels(labels: JSON | None, path: str) -> Errors:
    return [] if not labels or are_sound_labels(labels) else label_errors(labels, path)


def label_errors(labels: JSON, path: str) -> Errors:
    """The rules themselves."""
    errors: Errors = []
    for key, value in labels.items():
        errors += [invalid(path, key, fault) for fault in label_key_faults(key)]
        errors += [invalid(path, value, fault) for fault in label_value_faults(value)]
    return errors


def check_annotations(annotations: JSON | None, path: str) -> Errors:
    errors: Errors = []
    size = 0
    for key, value in (annotations or {}).items():
        errors += [invalid(path, key, fault) for fault in qualified_name_faults(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATION_BYTES:
        errors.append(too_long(path, ANNOTATION_BYTES))
    return errors


def _check_finalizer(finalizer: str, path: str) -> Errors:
    faults = qualified_name_faults(finalizer)
    if faults:
        return [invalid(path, finalizer, fault) for fault in faults]
    if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
        detail = "name is neither a standard finalizer name nor is it fully qualified"
        return [invalid(path, finalizer, detail)]
    return []


def _check_owners(owners: list[JSON]) -> Errors:
    errors: Errors = []
    for index, owner in enumerate(owners):
        for name in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(name):
                what = "version must not be empty" if name == "apiVersion" else "must not be empty"
                errors.append(invalid(f"metadata.ownerReferences[{index}].{name}", "", what))
    managing = [owner for owner in owners if owner.get("controller")]
    if len(managing) > 1:
        first, second = (f"{owner.get('kind')}/{owner.get('name')}" for owner in managing[:2])
        detail = (
            "Only one reference can have Controller set to true. Found "
            f'"true" in references for {first} and {second}'
        )
        errors.append(invalid("metadata.ownerReferences", owners, detail))
    return errors


def check_selector(selector: JSON | None, path: str) -> Errors:
    """Of a LabelSelector object."""
    if selector is None:
        return []
    errors = check_labels(selector.get("matchLabels"), f"{path}.matchLabels")
    for index, item in enumerate(selector.get("matchExpressions", ())):
        at = f"{path}.matchExpressions[{index}]"
        operator, values = item.get("operator", ""), item.get("values")
        if operator in ("In", "NotIn") and not values:
            detail = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.append(required(f"{at}.values", detail))
        elif operator in ("Exists", "DoesNotExist") and values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden(f"{at}.values", detail))
        elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            errors.append(invalid(f"{at}.operator", operator, "not a valid selector operator"))
        key = item.get("key", "")
        errors += [invalid(f"{at}.key", key, fault) for fault in label_key_faults(key)]
    return errors


def selects(selector: JSON, labels: JSON) -> bool:
    """Whether a selector, if it can be read at all, matches labels."""
    try:
        return label_selector_object(selector)(labels)
    except SelectorError:
        return False


def not_negative(value: Any, path: str) -> Errors:
    if isinstance(value, int) and value < 0:
        return [invalid(path, value, NOT_NEGATIVE)]
    return []


def in_range(value: Any, low: int, high: int, path: str) -> Errors:
    if isinstance(value, int) and not low <= value <= high:
        return [invalid(path, value, f"must be between {low} and {high}, inclusive")]
    return []


def one_of(value: Any, supported: list[str], path: str) -> Errors:
    """Of a field with few values; an absent one is no fault here."""
    return [] if value is None or value in supported else [unsupported(path, value, supported)]


def same(old: Any, new: Any, path: str, detail: str = IMMUTABLE) -> Errors:
    """Of a field that may not change."""
    return [] if old == new else [invalid(path, new, detail)]


def unique(values: list[Any], path_of: Callable[[int], str]) -> Errors:
    """A Duplicate value for each that was there before."""
    seen: list[Any] = []
    errors: Errors = []
    for index, value in enumerate(values):
        if value and value in seen:
            errors.append(duplicate(path_of(index), value))
        seen.append(value)
    return errors
