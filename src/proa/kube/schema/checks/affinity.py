"""Affinities of pods, and node selectors of other kinds (``validateAffinity`` and its kin)."""

from __future__ import annotations

from proa.kube.schema.checks.basics import JSON, Errors, check_selector
from proa.kube.schema.errors import forbidden, invalid, required
from proa.kube.schema.names import label_key_faults, label_value_faults, subdomain_faults

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def check_affinity(affinity: JSON | None, path: str) -> Errors:
    """Of a pod's spec."""
    affinity = affinity or {}
    errors = _check_node_affinity(affinity.get("nodeAffinity") or {}, f"{path}.nodeAffinity")
    for name in ("podAffinity", "podAntiAffinity"):
        part, at = affinity.get(name) or {}, f"{path}.{name}"
        for index, term in enumerate(part.get(_REQUIRED) or ()):
            errors += _check_pod_term(term, f"{at}.{_REQUIRED}[{index}]")
        for index, item in enumerate(part.get(_PREFERRED) or ()):
            below = f"{at}.{_PREFERRED}[{index}]"
            errors += _check_weight(item, below)
            errors += _check_pod_term(item.get("podAffinityTerm") or {}, f"{below}.podAffinityTerm")
    return errors


def _check_node_affinity(affinity: JSON, path: str) -> Errors:
    errors: Errors = []
    if (selector := affinity.get(_REQUIRED)) is not None:
        errors += check_node_selector(selector, f"{path}.{_REQUIRED}")
    for index, item in enumerate(affinity.get(_PREFERRED) or ()):
        at = f"{path}.{_PREFERRED}[{index}]"
        errors += _check_weight(item, at)
        errors += _check_node_term(item.get("preference") or {}, f"{at}.preference")
    return errors


def _check_weight(item: JSON, path: str) -> Errors:
    weight = item.get("weight", 0)
    ok = 1 <= weight <= 100
    return [] if ok else [invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def check_node_selector(selector: JSON, path: str) -> Errors:
    """Of a NodeSelector: terms of which one must hold."""
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        detail = "must have at least one node selector term"
        return [required(f"{path}.nodeSelectorTerms", detail)]
    return [
        error
        for index, term in enumerate(terms)
        for error in _check_node_term(term, f"{path}.nodeSelectorTerms[{index}]")
    ]


def _check_node_term(term: JSON, path: str) -> Errors:
    errors: Errors = []
    for index, item in enumerate(term.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{index}]"
        errors += _check_requirement(item, at)
        key = item.get("key", "")
        errors += [invalid(f"{at}.key", key, fault) for fault in label_key_faults(key)]
        for place, value in enumerate(item.get("values") or ()):
            faults = label_value_faults(value)
            errors += [invalid(f"{at}.values[{place}]", value, fault) for fault in faults]
    for index, item in enumerate(term.get("matchFields") or ()):
        errors += _check_field(item, f"{path}.matchFields[{index}]")
    return errors


def _check_requirement(item: JSON, path: str) -> Errors:
    """The operator of an expression, and as many values as it takes."""
    operator, values = item.get("operator", ""), item.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            detail = "must be specified when `operator` is 'In' or 'NotIn'"
            return [required(f"{path}.values", detail)]
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            return [forbidden(f"{path}.values", detail)]
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            return [required(f"{path}.values", detail)]
    else:
        return [invalid(f"{path}.operator", operator, "not a valid selector operator")]
    return []


def _check_field(item: JSON, path: str) -> Errors:
    """Nodes are selected by one field, their name."""
    operator, values, key = item.get("operator", ""), item.get("values") or [], item.get("key", "")
    errors: Errors = []
    if operator not in ("In", "NotIn"):
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(required(f"{path}.values", detail))
    if key != "metadata.name":
        errors.append(invalid(f"{path}.key", key, "not a valid field selector key"))
        return errors
    for index, value in enumerate(values):
        faults = subdomain_faults(value)
        errors += [invalid(f"{path}.values[{index}]", value, fault) for fault in faults]
    return errors


def _check_pod_term(term: JSON, path: str) -> Errors:
    errors = check_selector(term.get("labelSelector"), f"{path}.labelSelector")
    errors += check_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    key = term.get("topologyKey", "")
    if not key:
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    return errors + [invalid(f"{path}.topologyKey", key, fault) for fault in label_key_faults(key)]
