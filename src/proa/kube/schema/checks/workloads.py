"""Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs, autoscalers, budgets."""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from proa.kube.schema.checks.basics import (
    IMMUTABLE,
    JSON,
    Errors,
    check_selector,
    not_negative,
    one_of,
    same,
    selects,
)
from proa.kube.schema.checks.jobs import check_job_fields
from proa.kube.schema.checks.pods import check_template
from proa.kube.schema.cron import schedule_fault
from proa.kube.schema.errors import forbidden, invalid, required

_PERCENT = re.compile(r"[0-9]+%")
_NOT_MATCHING = "`selector` does not match template `labels`"
_STATEFUL_SET_FIELDS = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_STATEFUL_SET_UPDATE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
    "'minReadySeconds' are forbidden"
)
_ZONE_IN_SCHEDULE = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"


def _check_selected(spec: JSON, noun: str) -> Errors:
    """A selector must be there, say something and match the template."""
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if selector is None:
        return [required("spec.selector")]
    errors = check_selector(selector, "spec.selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        detail = f"empty selector is invalid for {noun}"
        errors.append(invalid("spec.selector", selector, detail))
    elif not errors and not selects(selector, labels or {}):
        errors.append(invalid("spec.template.metadata.labels", labels, _NOT_MATCHING))
    return errors


def _check_counts(spec: JSON, *names: str) -> Errors:
    return [error for name in names for error in not_negative(spec.get(name), f"spec.{name}")]


def _check_share(value: Any, path: str, *, bounded: bool = False) -> Errors:
    """Of a count or a percentage."""
    if value is None or isinstance(value, int):
        return not_negative(value, path)
    if not _PERCENT.fullmatch(value):
        return [invalid(path, value, "must be an integer or percentage (e.g '5%')")]
    if bounded and int(value[:-1]) > 100:
        return [invalid(path, value, "must not be greater than 100%")]
    return []


def check_deployment(deployment: JSON) -> Errors:
    spec = deployment.get("spec", {})
    errors = _check_counts(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    errors += _check_selected(spec, "deployment")
    errors += check_template(spec.get("template"), "spec.template", ["Always"])
    errors += _check_strategy(spec.get("strategy", {}))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        errors += not_negative(deadline, "spec.progressDeadlineSeconds")
        if deadline <= spec.get("minReadySeconds", 0):
            detail = "must be greater than minReadySeconds"
            errors.append(invalid("spec.progressDeadlineSeconds", deadline, detail))
    return errors


def _check_strategy(strategy: JSON) -> Errors:
    path = "spec.strategy"
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate":
        if rolling is None:
            return []
        detail = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden(f"{path}.rollingUpdate", detail)]
    errors = one_of(strategy.get("type"), ["Recreate", "RollingUpdate"], f"{path}.type")
    if rolling is None:
        return errors
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    at = f"{path}.rollingUpdate"
    errors += _check_share(unavailable, f"{at}.maxUnavailable", bounded=True)
    errors += _check_share(surge, f"{at}.maxSurge")
    if not errors and _none(unavailable) and _none(surge):
        detail = "may not be 0 when `maxSurge` is 0"
        errors.append(invalid(f"{at}.maxUnavailable", unavailable, detail))
    return errors


def _none(value: Any) -> bool:
    return value in (0, "0%")


def check_replica_set(replica_set: JSON) -> Errors:
    spec = replica_set.get("spec", {})
    errors = _check_counts(spec, "replicas", "minReadySeconds")
    errors += _check_selected(spec, "deployment")
    return errors + check_template(spec.get("template"), "spec.template", ["Always"])


def check_stateful_set(stateful_set: JSON) -> Errors:
    spec = stateful_set.get("spec", {})
    errors = _check_counts(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    errors += _check_selected(spec, "statefulset")
    errors += check_template(spec.get("template"), "spec.template", ["Always"])
    supported = ["OrderedReady", "Parallel"]
    errors += one_of(spec.get("podManagementPolicy"), supported, "spec.podManagementPolicy")
    strategy = spec.get("updateStrategy", {})
    kinds = ["OnDelete", "RollingUpdate"]
    errors += one_of(strategy.get("type"), kinds, "spec.updateStrategy.type")
    partition = (strategy.get("rollingUpdate") or {}).get("partition")
    return errors + not_negative(partition, "spec.updateStrategy.rollingUpdate.partition")


def check_daemon_set(daemon_set: JSON) -> Errors:
    spec = daemon_set.get("spec", {})
    errors = _check_counts(spec, "minReadySeconds", "revisionHistoryLimit")
    errors += _check_selected(spec, "daemonset")
    errors += check_template(spec.get("template"), "spec.template", ["Always"])
    strategy = spec.get("updateStrategy", {})
    kinds = ["OnDelete", "RollingUpdate"]
    errors += one_of(strategy.get("type"), kinds, "spec.updateStrategy.type")
    rolling = strategy.get("rollingUpdate") or {}
    at = "spec.updateStrategy.rollingUpdate"
    errors += _check_share(rolling.get("maxUnavailable"), f"{at}.maxUnavailable", bounded=True)
    errors += _check_share(rolling.get("maxSurge"), f"{at}.maxSurge", bounded=True)
    shares = (rolling.get("maxUnavailable"), rolling.get("maxSurge"))
    if not errors and all(map(_none, shares)):
        detail = "cannot be 0 when maxSurge is 0"
        errors.append(invalid(f"{at}.maxUnavailable", shares[0], detail))
    return errors


def check_replication_controller(controller: JSON) -> Errors:
    spec = controller.get("spec", {})
    errors = _check_counts(spec, "replicas", "minReadySeconds")
    selector = spec.get("selector")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selector:
        errors.append(required("spec.selector"))
    elif any(labels.get(key) != value for key, value in selector.items()):
        errors.append(invalid("spec.template.metadata.labels", labels, _NOT_MATCHING))
    return errors + check_template(spec.get("template"), "spec.template", ["Always"])


def check_job(job: JSON) -> Errors:
    return _check_job_spec(job.get("spec", {}), "spec")


def _check_job_spec(spec: JSON, path: str) -> Errors:
    restarts = ["OnFailure", "Never"]
    fields = check_job_fields(spec, path)
    return fields + check_template(spec.get("template"), f"{path}.template", restarts)


def check_cron_job(cron_job: JSON) -> Errors:
    spec = cron_job.get("spec", {})
    errors: Errors = []
    schedule = spec.get("schedule", "")
    if not schedule:
        errors.append(required("spec.schedule"))
    elif "TZ" in schedule:
        errors.append(invalid("spec.schedule", schedule, _ZONE_IN_SCHEDULE))
    elif fault := schedule_fault(schedule):
        errors.append(invalid("spec.schedule", schedule, fault))
    errors += _check_zone(spec.get("timeZone"), "spec.timeZone")
    supported = ["Allow", "Forbid", "Replace"]
    errors += one_of(spec.get("concurrencyPolicy"), supported, "spec.concurrencyPolicy")
    errors += _check_counts(
        spec, "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"
    )
    template = (spec.get("jobTemplate") or {}).get("spec", {})
    return errors + _check_job_spec(template, "spec.jobTemplate.spec")


def _check_zone(zone: str | None, path: str) -> Errors:
    if zone is None:
        return []
    if not zone:
        return [invalid(path, zone, "timeZone must be nil or non-empty string")]
    if zone.lower() == "local":
        detail = (
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        )
        return [invalid(path, zone, detail)]
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return [invalid(path, zone, f"unknown time zone {zone}")]
    return []


def check_autoscaler(autoscaler: JSON) -> Errors:
    spec = autoscaler.get("spec", {})
    errors: Errors = []
    low, high = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if low is not None and low < 1:
        detail = "must be greater than or equal to 1"
        errors.append(invalid("spec.minReplicas", low, detail))
    if high < 1:
        errors.append(invalid("spec.maxReplicas", high, "must be greater than 0"))
    elif low is not None and high < low:
        detail = "must be greater than or equal to `minReplicas`"
        errors.append(invalid("spec.maxReplicas", high, detail))
    target = spec.get("scaleTargetRef", {})
    return errors + [
        required(f"spec.scaleTargetRef.{name}") for name in ("kind", "name") if not target.get(name)
    ]


def check_budget(budget: JSON) -> Errors:
    spec = budget.get("spec", {})
    if "minAvailable" in spec and "maxUnavailable" in spec:
        detail = "minAvailable and maxUnavailable cannot be both set"
        return [invalid("spec", spec, detail)]
    errors = _check_share(spec.get("minAvailable"), "spec.minAvailable", bounded=True)
    errors += _check_share(spec.get("maxUnavailable"), "spec.maxUnavailable", bounded=True)
    return errors + check_selector(spec.get("selector"), "spec.selector")


def check_selector_update(old: JSON, new: JSON) -> Errors:
    """Of Deployments, ReplicaSets and DaemonSets."""
    before, after = old.get("spec", {}).get("selector"), new.get("spec", {}).get("selector")
    return same(before, after, "spec.selector")


def check_stateful_set_update(old: JSON, new: JSON) -> Errors:
    def fixed(stateful_set: JSON) -> JSON:
        spec: JSON = stateful_set.get("spec", {})
        return {key: value for key, value in spec.items() if key not in _STATEFUL_SET_FIELDS}

    return [] if fixed(old) == fixed(new) else [forbidden("spec", _STATEFUL_SET_UPDATE)]


def check_job_update(old: JSON, new: JSON) -> Errors:
    """A suspended job that has not started may still be given to other nodes."""
    before, after = old.get("spec", {}), new.get("spec", {})
    errors: Errors = []
    for name in ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"):
        errors += same(before.get(name), after.get(name), f"spec.{name}")
    elastic = after.get("completionMode") == "Indexed" and after.get("completions") == after.get(
        "parallelism"
    )
    if before.get("completions") != after.get("completions") and not elastic:
        errors.append(invalid("spec.completions", after.get("completions"), IMMUTABLE))
    movable = before.get("suspend") and not old.get("status", {}).get("startTime")
    if not movable:
        errors += same(before.get("template"), after.get("template"), "spec.template")
    return errors
