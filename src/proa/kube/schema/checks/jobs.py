"""Rules of Jobs that hold between fields: indexes, failure and success policies, replacement.

``workloads`` calls this for Jobs and for the templates of CronJobs. Rules: kube-apiserver's
validation of batch/v1, KEP-3329, KEP-3850, KEP-3998, KEP-3939.
"""

from __future__ import annotations

import re
from typing import Any

from proa.kube.schema.checks.basics import JSON, Errors, in_range, not_negative, one_of
from proa.kube.schema.errors import duplicate, invalid, required, unsupported

MAX_RULES, MAX_EXIT_CODES, MAX_CONDITIONS = 20, 255, 20
MAX_INDEXED_PARALLELISM = 100_000
_ACTIONS = ["Count", "FailIndex", "FailJob", "Ignore"]
_INDEXED = "requires indexed completion mode"
_INDEXES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")


def check_job_fields(spec: JSON, path: str) -> Errors:
    """A Job's own fields, without its template."""
    errors: Errors = []
    for name in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ):
        errors += not_negative(spec.get(name), f"{path}.{name}")
    mode = spec.get("completionMode")
    errors += one_of(mode, ["Indexed", "NonIndexed"], f"{path}.completionMode")
    errors += _check_indexed(spec, path, mode == "Indexed")
    if spec.get("podFailurePolicy") is not None:
        errors += _check_failure_policy(spec, spec["podFailurePolicy"], path)
    if spec.get("successPolicy") is not None:
        errors += _check_success_policy(spec, spec["successPolicy"], path)
    return errors + _check_replacement(spec, path)


def _check_indexed(spec: JSON, path: str, indexed: bool) -> Errors:
    errors: Errors = []
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    if indexed and completions is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if indexed:
        errors += in_range(parallelism, 0, MAX_INDEXED_PARALLELISM, f"{path}.parallelism")
    for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
        if spec.get(name) is not None and not indexed:
            errors.append(invalid(f"{path}.{name}", spec[name], _INDEXED))
    most = spec.get("maxFailedIndexes")
    if most is not None and spec.get("backoffLimitPerIndex") is None:
        detail = "when maxFailedIndexes is specified"
        errors.append(required(f"{path}.backoffLimitPerIndex", detail))
    if most is not None and completions is not None and most > completions:
        detail = "must be less than or equal to completions"
        errors.append(invalid(f"{path}.maxFailedIndexes", most, detail))
    return errors


def _check_failure_policy(spec: JSON, policy: JSON, path: str) -> Errors:
    errors: Errors = []
    template = (spec.get("template") or {}).get("spec") or {}
    restart = template.get("restartPolicy")
    if restart not in (None, "Never"):
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        errors.append(invalid(f"{path}.template.spec.restartPolicy", restart, detail))
    rules = policy.get("rules") or []
    where = f"{path}.podFailurePolicy.rules"
    if len(rules) > MAX_RULES:
        errors.append(invalid(where, len(rules), f"must have at most {MAX_RULES} items"))
    every = (*(template.get("initContainers") or ()), *(template.get("containers") or ()))
    names = {item.get("name") for item in every}
    for number, rule in enumerate(rules[:MAX_RULES]):
        per_index = spec.get("backoffLimitPerIndex") is not None
        errors += _check_failure_rule(rule, f"{where}[{number}]", names, per_index)
    return errors


def _check_failure_rule(rule: JSON, path: str, names: set[Any], per_index: bool) -> Errors:
    errors: Errors = []
    action = rule.get("action")
    if not action:
        errors.append(required(f"{path}.action", f"valid values: {_ACTIONS}"))
    elif action == "FailIndex" and not per_index:
        detail = "requires the backoffLimitPerIndex to be set"
        errors.append(invalid(f"{path}.action", action, detail))
    else:
        errors += one_of(action, _ACTIONS, f"{path}.action")
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if codes is not None:
        errors += _check_exit_codes(codes, f"{path}.onExitCodes", names)
    if len(conditions) > MAX_CONDITIONS:
        detail = f"must have at most {MAX_CONDITIONS} items"
        errors.append(invalid(f"{path}.onPodConditions", len(conditions), detail))
    for number, pattern in enumerate(conditions):
        where = f"{path}.onPodConditions[{number}]"
        if not pattern.get("type"):
            errors.append(required(f"{where}.type"))
        errors += one_of(pattern.get("status"), ["False", "True", "Unknown"], f"{where}.status")
    if codes is not None and conditions:
        detail = "specifying both OnExitCodes and OnPodConditions is not supported"
        errors.append(invalid(path, None, detail))
    if codes is None and not conditions:
        detail = "specifying one of OnExitCodes and OnPodConditions is required"
        errors.append(invalid(path, None, detail))
    return errors


def _check_exit_codes(codes: JSON, path: str, names: set[Any]) -> Errors:
    errors: Errors = []
    operator, values = codes.get("operator"), codes.get("values") or []
    if not operator:
        errors.append(required(f"{path}.operator", "valid values: [In NotIn]"))
    else:
        errors += one_of(operator, ["In", "NotIn"], f"{path}.operator")
    named = codes.get("containerName")
    if named is not None and named not in names:
        detail = "must be one of the container or initContainer names in the pod template"
        errors.append(invalid(f"{path}.containerName", named, detail))
    if not values:
        errors.append(invalid(f"{path}.values", values, "at least one value is required"))
    elif len(values) > MAX_EXIT_CODES:
        detail = f"must have at most {MAX_EXIT_CODES} items"
        errors.append(invalid(f"{path}.values", len(values), detail))
    seen: set[int] = set()
    for number, value in enumerate(values[:MAX_EXIT_CODES]):
        if value in seen:
            errors.append(duplicate(f"{path}.values[{number}]", value))
        elif operator == "In" and value == 0:
            detail = "must not be 0 for the In operator"
            errors.append(invalid(f"{path}.values[{number}]", value, detail))
        seen.add(value)
    if values != sorted(values):
        errors.append(invalid(f"{path}.values", values, "must be ordered"))
    return errors


def _check_success_policy(spec: JSON, policy: JSON, path: str) -> Errors:
    where = f"{path}.successPolicy"
    if spec.get("completionMode") != "Indexed":
        return [invalid(where, policy, _INDEXED)]
    rules = policy.get("rules") or []
    if not rules:
        return [required(f"{where}.rules", "at least one rules must be specified when the "
                                           "successPolicy is specified")]  # fmt: skip
    errors: Errors = []
    if len(rules) > MAX_RULES:
        errors.append(invalid(f"{where}.rules", len(rules), f"must have at most {MAX_RULES} items"))
    for number, rule in enumerate(rules[:MAX_RULES]):
        errors += _check_success_rule(spec, rule, f"{where}.rules[{number}]")
    return errors


def _check_success_rule(spec: JSON, rule: JSON, path: str) -> Errors:
    errors: Errors = []
    count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
    completions = spec.get("completions") or 0
    if count is None and indexes is None:
        detail = "at least one of succeededCount or succeededIndexes must be specified"
        errors.append(required(path, detail))
    if count is not None:
        where = f"{path}.succeededCount"
        if count < 1:
            errors.append(invalid(where, count, "must be greater than or equal to 1"))
        elif count > completions:
            detail = (
                f"must be less than or equal to {completions} (the number of specified completions)"
            )
            errors.append(invalid(where, count, detail))
    if indexes is not None and not _are_indexes(indexes, completions):
        detail = "error parsing succeededIndexes: must be increasing indexes below completions"
        errors.append(invalid(f"{path}.succeededIndexes", indexes, detail))
    return errors


def _are_indexes(text: str, completions: int) -> bool:
    if not _INDEXES.fullmatch(text):
        return False
    last = -1
    for part in text.split(","):
        first, _, end = part.partition("-")
        if int(first) <= last or int(end or first) < int(first):
            return False
        last = int(end or first)
    return last < completions


def _check_replacement(spec: JSON, path: str) -> Errors:
    policy, where = spec.get("podReplacementPolicy"), f"{path}.podReplacementPolicy"
    if policy is None:
        return []
    if spec.get("podFailurePolicy") is not None:
        return [] if policy == "Failed" else [unsupported(where, policy, ["Failed"])]
    return one_of(policy, ["Failed", "TerminatingOrFailed"], where)
