"""Configuration, claims and volumes, access rules, classes, custom resource definitions."""

from __future__ import annotations

import base64
from typing import Any

from proa.base.quantity import parse_quantity
from proa.kube.schema.checks.basics import JSON, Errors, one_of, same
from proa.kube.schema.errors import forbidden, invalid, required, too_long
from proa.kube.schema.names import config_key_faults
from proa.kube.schema.sound import is_sound_data

MAX_DATA_BYTES = 1024 * 1024
BYTES_A_LETTER = 4  # at most, in UTF-8
HIGHEST_USER_PRIORITY = 1_000_000_000
_FROZEN = "field is immutable when `immutable` is set"
_CLAIM_UPDATE = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName "
    "for bound claims"
)
_MODES = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]
# The keys that secrets of these types must have.
_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
_ACCOUNT_NAME = "kubernetes.io/service-account.name"
_SECRET_KEYS: dict[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def check_config_map(config_map: JSON) -> Errors:
    return _check_data(config_map, encoded=False)


def _check_data(obj: JSON, *, encoded: bool) -> Errors:
    """Of ConfigMaps and Secrets (whose data is encoded)."""
    texts, binaries = obj.get("data", {}), obj.get("binaryData", {})
    if not binaries and is_sound_data(texts):
        return []
    return data_errors(texts, binaries, encoded=encoded)


def data_errors(texts: JSON, binaries: JSON, *, encoded: bool) -> Errors:
    """The rules themselves."""
    errors: Errors = []
    for field, entries in (("data", texts), ("binaryData", binaries)):
        for key in entries:
            if faults := config_key_faults(key):
                errors += [invalid(f"{field}[{key}]", key, fault) for fault in faults]
    if not binaries.keys().isdisjoint(texts):
        errors += [
            invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
            for key in texts
            if key in binaries
        ]
    letters = sum(map(len, texts.values())) + sum(map(len, binaries.values()))
    if letters * BYTES_A_LETTER <= MAX_DATA_BYTES:  # as almost always: no need to count
        return errors
    size = sum(_bytes(value, encoded) for value in texts.values())
    size += sum(_bytes(value, True) for value in binaries.values())
    return [*errors, too_long("[]", MAX_DATA_BYTES)] if size > MAX_DATA_BYTES else errors


def _bytes(value: str, encoded: bool) -> int:
    if encoded:
        return len(base64.b64decode(value))
    return len(value) if value.isascii() else len(value.encode())


def check_secret(secret: JSON) -> Errors:
    errors = _check_data(secret, encoded=True)
    data = secret.get("data", {})
    needed = _SECRET_KEYS.get(secret.get("type", ""), ())
    if secret.get("type") == _ACCOUNT_TOKEN and not _names_account(secret):
        errors.append(required(f"metadata.annotations[{_ACCOUNT_NAME}]"))
    return errors + [required(f"data[{key}]") for key in needed if key not in data]


def _names_account(secret: JSON) -> bool:
    annotations = secret.get("metadata", {}).get("annotations") or {}
    return bool(annotations.get(_ACCOUNT_NAME))


def check_data_update(old: JSON, new: JSON) -> Errors:
    if not old.get("immutable"):
        return []
    errors: Errors = []
    if not new.get("immutable"):
        errors.append(forbidden("immutable", _FROZEN))
    for name in ("data", "binaryData"):
        if old.get(name) != new.get(name):
            errors.append(forbidden(name, _FROZEN))
    return errors


def check_secret_update(old: JSON, new: JSON) -> Errors:
    return same(old.get("type"), new.get("type"), "type") + check_data_update(old, new)


def check_claim(claim: JSON) -> Errors:
    spec = claim.get("spec", {})
    errors = _check_modes(spec.get("accessModes"))
    amount = spec.get("resources", {}).get("requests", {}).get("storage")
    if amount is None:
        errors.append(required("spec.resources[storage]"))
    elif parse_quantity(amount) <= 0:
        errors.append(invalid("spec.resources[storage]", amount, "must be greater than zero"))
    return errors


def _check_modes(modes: list[str] | None) -> Errors:
    if not modes:
        return [required("spec.accessModes", "at least 1 access mode is required")]
    return [error for mode in modes for error in one_of(mode, _MODES, "spec.accessModes")]


def check_claim_update(old: JSON, new: JSON) -> Errors:
    """Binding sets the volume once; a bound claim may grow."""
    before, after = dict(old.get("spec", {})), dict(new.get("spec", {}))
    if not before.get("volumeName"):
        before.pop("volumeName", None)
        after.pop("volumeName", None)
    if before.get("storageClassName") is None:
        after.pop("storageClassName", None)
    wanted, given = _storage(after), _storage(before)
    for spec in (before, after):
        spec.pop("volumeAttributesClassName", None)
        spec["resources"] = {k: v for k, v in spec.get("resources", {}).items() if k != "requests"}
    if before != after:
        return [forbidden("spec", _CLAIM_UPDATE)]
    if wanted < given and old.get("status", {}).get("phase") == "Bound":
        detail = "field can not be less than status.capacity"
        return [forbidden("spec.resources.requests.storage", detail)]
    return []


def _storage(spec: JSON) -> Any:
    return parse_quantity(spec.get("resources", {}).get("requests", {}).get("storage", "0"))


def check_volume(volume: JSON) -> Errors:
    spec = volume.get("spec", {})
    errors = _check_modes(spec.get("accessModes"))
    if not spec.get("capacity"):
        errors.append(required("spec.capacity"))
    plain = (
        "capacity",
        "accessModes",
        "claimRef",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "mountOptions",
        "volumeMode",
        "nodeAffinity",
        "volumeAttributesClassName",
    )
    sources = [name for name in spec if name not in plain]
    if not sources:
        errors.append(required("spec", "must specify a volume type"))
    for source in sources[1:]:
        errors.append(forbidden(f"spec.{source}", "may not specify more than 1 volume type"))
    policy = spec.get("persistentVolumeReclaimPolicy")
    policies = ["Delete", "Recycle", "Retain"]
    return errors + one_of(policy, policies, "spec.persistentVolumeReclaimPolicy")


def check_role(role: JSON) -> Errors:
    errors: Errors = []
    for index, rule in enumerate(role.get("rules") or ()):
        at = f"rules[{index}]"
        if not rule.get("verbs"):
            errors.append(required(f"{at}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            continue
        if not rule.get("apiGroups"):
            detail = "resource rules must supply at least one api group"
            errors.append(required(f"{at}.apiGroups", detail))
        if not rule.get("resources"):
            detail = "resource rules must supply at least one resource"
            errors.append(required(f"{at}.resources", detail))
    return errors


def check_role_binding(binding: JSON) -> Errors:
    return _check_binding(binding, ["Role", "ClusterRole"])


def check_cluster_role_binding(binding: JSON) -> Errors:
    return _check_binding(binding, ["ClusterRole"])


def _check_binding(binding: JSON, kinds: list[str]) -> Errors:
    reference = binding.get("roleRef", {})
    errors = one_of(reference.get("kind", ""), kinds, "roleRef.kind")
    if not reference.get("name"):
        errors.append(required("roleRef.name"))
    for index, subject in enumerate(binding.get("subjects", ())):
        at, kind = f"subjects[{index}]", subject.get("kind", "")
        errors += one_of(kind, ["ServiceAccount", "User", "Group"], f"{at}.kind")
        if not subject.get("name"):
            errors.append(required(f"{at}.name"))
        if kind == "ServiceAccount" and not subject.get("namespace"):
            errors.append(required(f"{at}.namespace"))
    return errors


def check_binding_update(old: JSON, new: JSON) -> Errors:
    return same(old.get("roleRef"), new.get("roleRef"), "roleRef", "cannot change roleRef")


def check_priority_class(priority: JSON) -> Errors:
    name, value = priority.get("metadata", {}).get("name", ""), priority.get("value", 0)
    if name.startswith("system-"):
        known = ("system-node-critical", "system-cluster-critical")
        if name not in known:
            detail = "priority class names with 'system-' prefix are reserved for system use only."
            return [forbidden("metadata.name", detail)]
        return []
    if value > HIGHEST_USER_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"
        return [forbidden("value", detail)]
    return []


def check_priority_class_update(old: JSON, new: JSON) -> Errors:
    if old.get("value") == new.get("value"):
        return []
    return [forbidden("Value", "may not be changed in an update.")]


def check_storage_class_update(old: JSON, new: JSON) -> Errors:
    errors: Errors = []
    for name in ("parameters", "provisioner"):
        if old.get(name) != new.get(name):
            errors.append(forbidden(name, f"updates to {name} are forbidden."))
    errors += same(old.get("volumeBindingMode"), new.get("volumeBindingMode"), "volumeBindingMode")
    return errors + same(old.get("reclaimPolicy"), new.get("reclaimPolicy"), "reclaimPolicy")


def check_definition(definition: JSON) -> Errors:
    """Of a CustomResourceDefinition: its name, its versions."""
    spec = definition.get("spec", {})
    names, versions = spec.get("names", {}), spec.get("versions", [])
    errors: Errors = []
    for name in ("plural", "kind"):
        if not names.get(name):
            errors.append(required(f"spec.names.{name}"))
    wanted = f"{names.get('plural', '')}.{spec.get('group', '')}"
    actual = definition.get("metadata", {}).get("name", "")
    if actual != wanted:
        detail = 'must be spec.names.plural+"."+spec.group'
        errors.append(invalid("metadata.name", actual, detail))
    errors += one_of(spec.get("scope"), ["Cluster", "Namespaced"], "spec.scope")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        errors.append(invalid("spec.versions", versions, detail))
    for index, version in enumerate(versions):
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            detail = "schemas are required"
            errors.append(required(f"spec.versions[{index}].schema.openAPIV3Schema", detail))
    return errors
