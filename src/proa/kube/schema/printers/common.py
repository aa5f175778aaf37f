"""Columns, and what many cells have in common: paths, ages, selectors, containers.

A cell is either a path into the object or a function of the object and the time. The printed forms
are those of kubectl's server-side printers (``pkg/printers`` of Kubernetes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

JSON = dict[str, Any]
Cell = Callable[[JSON, float], Any]
NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


@dataclass(frozen=True)
class Column:
    """One column; ``priority`` above 0 means it shows with ``-o wide`` only."""

    name: str
    cell: str | Cell
    priority: int = 0
    type: str = "string"

    def value(self, obj: JSON, now: float) -> Any:
        """The cell of one object; ``now`` in seconds since 1970."""
        if isinstance(self.cell, str):
            return at(obj, self.cell, 0 if self.type == "integer" else "")
        return self.cell(obj, now)


def at(obj: Any, path: str, absent: Any = None) -> Any:
    """The value at a dotted path, or ``absent``."""
    for name in path.split("."):
        obj = obj.get(name) if isinstance(obj, dict) else None
        if obj is None:
            return absent
    return obj


def or_none(path: str) -> Cell:
    """The value at a path, ``<none>`` where it is empty."""
    return lambda obj, now: at(obj, path, "") or NONE


def or_unset(path: str) -> Cell:
    return lambda obj, now: at(obj, path, "") or UNSET


def boolean(path: str) -> Cell:
    """True or False as Go prints them in tables."""
    return lambda obj, now: "true" if at(obj, path, False) else "false"


def count(*paths: str) -> Cell:
    """How many things there are at some paths together."""
    return lambda obj, now: sum(len(at(obj, path, ())) for path in paths)


def seconds_of(text: str) -> float | None:
    """A timestamp of Kubernetes in seconds since 1970."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def since(text: Any, now: float) -> str:
    """How long ago a timestamp was."""
    moment = seconds_of(text) if isinstance(text, str) and text else None
    return UNKNOWN if moment is None else human_duration(now - moment)


def age(obj: JSON, now: float) -> str:
    """The AGE cell."""
    return since(at(obj, "metadata.creationTimestamp"), now)


def created_at(obj: JSON, now: float) -> str:
    return str(at(obj, "metadata.creationTimestamp", ""))


def human_duration(seconds: float) -> str:
    """A duration as kubectl shows it: two units at most, fewer the longer it is."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 2 * MINUTE_S:
        return f"{max(whole, 0)}s"
    if whole < 10 * MINUTE_S:
        return _pair(whole, MINUTE_S, "m", 1, "s")
    if whole < 3 * HOUR_S:
        return f"{whole // MINUTE_S}m"
    if whole < 8 * HOUR_S:
        return _pair(whole, HOUR_S, "h", MINUTE_S, "m")
    if whole < 2 * DAY_S:
        return f"{whole // HOUR_S}h"
    if whole < 8 * DAY_S:
        return _pair(whole, DAY_S, "d", HOUR_S, "h")
    if whole < 2 * 365 * DAY_S:
        return f"{whole // DAY_S}d"
    if whole < 8 * 365 * DAY_S:
        return _pair(whole, 365 * DAY_S, "y", DAY_S, "d")
    return f"{whole // (365 * DAY_S)}y"


def _pair(whole: int, unit: int, name: str, small: int, small_name: str) -> str:
    rest = whole % unit // small
    return f"{whole // unit}{name}" + (f"{rest}{small_name}" if rest else "")


def labels_text(labels: JSON | None) -> str:
    """``a=b,c=d``, or ``<none>``."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) if labels else NONE


def selector_text(selector: JSON | None) -> str:
    """A LabelSelector object as the text of a label selector."""
    if selector is None:
        return NONE
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression.get("key", ""), expression.get("operator", "")
        values = ",".join(expression.get("values") or ())
        texts = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        parts.append(texts.get(operator, ""))
    return ",".join(parts) or NONE


def containers_of(template: str) -> Cell:
    """The names of a pod template's containers."""
    return lambda obj, now: ",".join(item.get("name", "") for item in _containers(obj, template))


def images_of(template: str) -> Cell:
    return lambda obj, now: ",".join(item.get("image", "") for item in _containers(obj, template))


def _containers(obj: JSON, template: str) -> list[JSON]:
    found: list[JSON] = at(obj, f"{template}.spec.containers", [])
    return found


def condition(obj: JSON, kind: str) -> JSON | None:
    """An object's status condition of one type."""
    return next((c for c in at(obj, "status.conditions", ()) if c.get("type") == kind), None)


def first_few(items: Iterable[str], limit: int = 3) -> str:
    """Up to ``limit`` items, and how many more there are."""
    listed = list(items)
    text = ",".join(listed[:limit])
    more = len(listed) - limit
    return f"{text} + {more} more..." if more > 0 else text


NAME = Column("Name", "metadata.name")
AGE = Column("Age", age)
CREATED_AT = Column("Created At", created_at)
