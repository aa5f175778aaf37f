"""Label and field selectors, parsed into predicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proa.kube.schema.kinds import Resource

LabelPredicate = Callable[[Mapping[str, str]], bool]
ObjectPredicate = Callable[[dict[str, Any]], bool]


class SelectorError(ValueError):
    """A selector that cannot be parsed, or names a field its kind does not support."""


def label_selector(text: str) -> LabelPredicate:
    """``a=b,c!=d,e in (f,g),h,!i`` over labels; "" matches all; raises SelectorError."""
    raise NotImplementedError


def label_selector_object(selector: Mapping[str, Any] | None) -> LabelPredicate:
    """A LabelSelector object over labels: null matches nothing, empty all; raises SelectorError."""
    raise NotImplementedError


def field_selector(resource: Resource, text: str) -> ObjectPredicate:
    """``metadata.name=a,status.phase!=Running`` over objects; raises SelectorError."""
    raise NotImplementedError


def field_requirements(resource: Resource, text: str) -> list[tuple[str, str, str]]:
    """The parts (field, "=" or "!=", value): a server reads metadata.name from it."""
    raise NotImplementedError
