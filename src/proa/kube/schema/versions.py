"""One object in two versions: what is stored once is read and written through either.

``api`` asks for every kind; almost all have one version and pass untouched. HorizontalPodAutoscaler
is kept as autoscaling/v2 (what v1 cannot say lies in its annotations while it is v1), Event as
core/v1. Each conversion back and forth gives the same object again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

JSON = dict[str, Any]
Convert = Callable[[JSON], JSON]
_ALPHA = "autoscaling.alpha.kubernetes.io/"
_EVENTS = "events.k8s.io/v1"
# In core/v1, and in events.k8s.io/v1.
_EVENT_FIELDS = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
)


def in_version(obj: JSON, api_version: str) -> JSON:
    """The object in another version of its kind, itself where it is that already. What is made
    shares parts with what it was made from."""
    convert = _CONVERSIONS.get((obj.get("kind", ""), obj.get("apiVersion", ""), api_version))
    return obj if convert is None else convert(obj)


def _autoscaler_down(obj: JSON) -> JSON:
    """autoscaling/v2 → v1."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = dict(obj["metadata"].get("annotations") or {})
    metrics, current = spec.pop("metrics", None), status.pop("currentMetrics", None)
    cpu, others = _apart(metrics, "target")
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu["averageUtilization"]
    used, rest = _apart(current, "current")
    if used is not None:
        status["currentCPUUtilizationPercentage"] = used["averageUtilization"]
    kept = {
        "metrics": others,
        "current-metrics": rest,
        "behavior": spec.pop("behavior", None),
        "conditions": status.pop("conditions", None),
    }
    for name, value in kept.items():
        if value:
            annotations[_ALPHA + name] = json.dumps(value, separators=(",", ":"))
    return _assembled(obj, "autoscaling/v1", annotations, spec, status)


def _apart(metrics: list[JSON] | None, field: str) -> tuple[JSON | None, list[JSON]]:
    """The CPU utilisation of a pod (what v1 knows), and all other metrics."""
    cpu: JSON | None = None
    others: list[JSON] = []
    for metric in metrics or ():
        resource = metric.get("resource") or {}
        found = resource.get(field) or {}
        known = metric.get("type") == "Resource" and resource.get("name") == "cpu"
        plain = set(found) <= {"type", "averageUtilization"}
        if known and plain and "averageUtilization" in found and cpu is None:
            cpu = found
        else:
            others.append(metric)
    return cpu, others


def _autoscaler_up(obj: JSON) -> JSON:
    """autoscaling/v1 → v2."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = dict(obj["metadata"].get("annotations") or {})
    wanted = spec.pop("targetCPUUtilizationPercentage", None)
    used = status.pop("currentCPUUtilizationPercentage", None)
    metrics, current = _said(annotations, "metrics"), _said(annotations, "current-metrics")
    if wanted is not None:
        target = {"type": "Utilization", "averageUtilization": wanted}
        metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}, *metrics]
    if used is not None:
        now = {"name": "cpu", "current": {"averageUtilization": used}}
        current = [{"type": "Resource", "resource": now}, *current]
    for part, name, value in (
        (spec, "metrics", metrics),
        (spec, "behavior", _said(annotations, "behavior")),
        (status, "currentMetrics", current),
        (status, "conditions", _said(annotations, "conditions")),
    ):
        if value:
            part[name] = value
    return _assembled(obj, "autoscaling/v2", annotations, spec, status)


def _said(annotations: dict[str, str], name: str) -> Any:
    """Takes out an annotation in which v1 carries a part of v2; nonsense is no part."""
    text = annotations.pop(_ALPHA + name, "")
    wanted: type = dict if name == "behavior" else list
    try:
        value = json.loads(text) if text else wanted()
    except ValueError:
        return wanted()
    return value if isinstance(value, wanted) else wanted()


def _assembled(
    obj: JSON, api_version: str, annotations: dict[str, str], spec: JSON, status: JSON
) -> JSON:
    metadata = {key: item for key, item in obj["metadata"].items() if key != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    made = {**obj, "apiVersion": api_version, "metadata": metadata, "spec": spec}
    if status or "status" in obj:
        made["status"] = status
    return made


def _event_up(obj: JSON) -> JSON:
    """events.k8s.io/v1 → core/v1."""
    return _renamed(obj, "v1", {new: old for old, new in _EVENT_FIELDS})


def _event_down(obj: JSON) -> JSON:
    """core/v1 → events.k8s.io/v1."""
    return _renamed(obj, _EVENTS, dict(_EVENT_FIELDS))


def _renamed(obj: JSON, api_version: str, names: dict[str, str]) -> JSON:
    made = {names.get(key, key): value for key, value in obj.items()}
    return {**made, "apiVersion": api_version}


_CONVERSIONS: dict[tuple[str, str, str], Convert] = {
    ("HorizontalPodAutoscaler", "autoscaling/v2", "autoscaling/v1"): _autoscaler_down,
    ("HorizontalPodAutoscaler", "autoscaling/v1", "autoscaling/v2"): _autoscaler_up,
    ("Event", "v1", _EVENTS): _event_down,
    ("Event", _EVENTS, "v1"): _event_up,
}
