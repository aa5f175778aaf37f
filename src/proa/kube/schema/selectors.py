"""Label and field selectors, parsed into predicates.

Lists, watches and deletecollection take both as query text; workloads, services and policies
carry LabelSelector objects. The grammar and the error texts are those of apimachinery's
``labels`` and ``fields`` packages; a SelectorError is answered by 400 with its message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from proa.kube.schema.kinds import Resource
from proa.kube.schema.names import label_key_faults, label_value_faults

LabelPredicate = Callable[[Mapping[str, str]], bool]
ObjectPredicate = Callable[[dict[str, Any]], bool]

_TOKEN = re.compile(r"\s*(==|!=|[=!,()<>]|[^\s=!,()<>]+)")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_OBJECT_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
# What each resource can be selected by beside its name and namespace: the field as it is written,
# the path it means, and what an absent value reads as.
_FIELDS: dict[tuple[str, str], dict[str, tuple[str, str]]] = {
    ("", "pods"): {
        "spec.nodeName": ("spec.nodeName", ""),
        "spec.restartPolicy": ("spec.restartPolicy", ""),
        "spec.schedulerName": ("spec.schedulerName", ""),
        "spec.serviceAccountName": ("spec.serviceAccountName", ""),
        "spec.hostNetwork": ("spec.hostNetwork", "false"),
        "status.phase": ("status.phase", ""),
        "status.podIP": ("status.podIP", ""),
        "status.podIPs": ("status.podIP", ""),
        "status.nominatedNodeName": ("status.nominatedNodeName", ""),
    },
    ("", "nodes"): {"spec.unschedulable": ("spec.unschedulable", "false")},
    ("", "namespaces"): {
        "name": ("metadata.name", ""),
        "status.phase": ("status.phase", ""),
    },
    ("", "secrets"): {"type": ("type", "")},
    ("", "services"): {
        "spec.clusterIP": ("spec.clusterIP", ""),
        "spec.type": ("spec.type", ""),
    },
    ("", "replicationcontrollers"): {"status.replicas": ("status.replicas", "0")},
    ("", "events"): {
        **{f"involvedObject.{name}": (f"involvedObject.{name}", "") for name in _INVOLVED},
        "reason": ("reason", ""),
        "reportingComponent": ("reportingComponent", ""),
        "source": ("source.component", ""),
        "type": ("type", ""),
    },
    ("events.k8s.io", "events"): {
        **{f"regarding.{name}": (f"regarding.{name}", "") for name in _INVOLVED},
        "reason": ("reason", ""),
        "reportingController": ("reportingController", ""),
        "type": ("type", ""),
    },
    ("apps", "replicasets"): {"status.replicas": ("status.replicas", "0")},
    ("batch", "jobs"): {"status.successful": ("status.succeeded", "0")},
    ("certificates.k8s.io", "certificatesigningrequests"): {
        "spec.signerName": ("spec.signerName", ""),
    },
    ("resource.k8s.io", "resourceslices"): {
        "spec.nodeName": ("spec.nodeName", ""),
        "spec.driver": ("spec.driver", ""),
    },
}


class SelectorError(ValueError):
    """A selector that cannot be parsed, or names a field its kind does not support."""


class Requirement(NamedTuple):
    """One part of a label selector; ``operator`` is in, notin, exists, !, gt or lt."""

    key: str
    operator: str
    values: tuple[str, ...]

    def holds(self, labels: Mapping[str, str]) -> bool:
        present = self.key in labels
        if self.operator == "in":
            return present and labels[self.key] in self.values
        if self.operator == "notin":
            return not present or labels[self.key] not in self.values
        if self.operator == "exists":
            return present
        if self.operator == "!":
            return not present
        if not present or not _INTEGER.fullmatch(labels[self.key]):
            return False
        amount, bound = int(labels[self.key]), int(self.values[0])
        return amount > bound if self.operator == "gt" else amount < bound


def label_selector(text: str) -> LabelPredicate:
    """``a=b,c!=d,e in (f,g),h,!i`` over labels; "" matches all; raises SelectorError."""
    return _all(_Parser(text).requirements())


def label_selector_object(selector: Mapping[str, Any] | None) -> LabelPredicate:
    """A LabelSelector object over labels: null matches nothing, empty all; raises SelectorError."""
    if selector is None:
        return lambda labels: False
    parts = [
        Requirement(key, "in", (value,))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    for expression in selector.get("matchExpressions") or ():
        name = expression.get("operator", "")
        if name not in _OBJECT_OPERATORS:
            raise SelectorError(f'"{name}" is not a valid label selector operator')
        values = tuple(expression.get("values") or ())
        parts.append(Requirement(expression.get("key", ""), _OBJECT_OPERATORS[name], values))
    return _all(parts)


def _all(parts: list[Requirement]) -> LabelPredicate:
    return lambda labels: all(part.holds(labels) for part in parts)


class _Parser:
    """One pass over the tokens of a label selector."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return str(token)

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while self._peek():
            if self._peek() != "!" and not _is_name(self._peek()):
                raise SelectorError(
                    f"found '{self._peek()}', expected: !, identifier, or 'end of string'"
                )
            try:
                found.append(self._requirement())
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            token = self._next()
            if token == ",":
                following = self._peek()
                if following != "!" and not _is_name(following):
                    raise SelectorError(f"found '{following}', expected: identifier after ','")
            elif token:
                raise SelectorError(f"found '{token}', expected: ',' or 'end of string'")
        return found

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._next()
            return self._checked(self._next(), "!", ())
        key = self._next()
        if self._peek() in ("", ","):
            return self._checked(key, "exists", ())
        operator = self._next()
        if operator in ("in", "notin"):
            return self._checked(key, operator, self._values())
        value = self._next() if _is_name(self._peek()) else ""
        if operator in ("=", "=="):
            return self._checked(key, "in", (value,))
        if operator == "!=":
            return self._checked(key, "notin", (value,))
        if operator in (">", "<", "gt", "lt"):
            if not _INTEGER.fullmatch(value):
                raise SelectorError(
                    f"values[0]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, "
                    "the value must be an integer"
                )
            return self._checked(key, "gt" if operator in (">", "gt") else "lt", (value,))
        raise SelectorError(f"found '{operator}', expected: {_OPERATORS}")

    def _values(self) -> tuple[str, ...]:
        if (token := self._next()) != "(":
            raise SelectorError(f"found '{token}' expected: '('")
        values: list[str] = []
        before = ","
        while (token := self._next()) != ")":
            if token == ",":
                values += [""] if before == "," else []
            elif _is_name(token) and before == ",":
                values.append(token)
            else:
                raise SelectorError(f"found '{token}', expected: ',', ')' or identifier")
            before = token
        if before == ",":
            values.append("")
        return tuple(values)

    @staticmethod
    def _checked(key: str, operator: str, values: tuple[str, ...]) -> Requirement:
        if faults := label_key_faults(key):
            raise SelectorError(f'key: Invalid value: "{key}": {"; ".join(faults)}')
        for index, value in enumerate(values):
            if faults := label_value_faults(value):
                raise SelectorError(
                    f'values[{index}][{key}]: Invalid value: "{value}": {"; ".join(faults)}'
                )
        return Requirement(key, operator, values)


def _is_name(token: str) -> bool:
    return bool(token) and token not in ("=", "==", "!=", "!", ",", "(", ")", "<", ">")


def field_requirements(resource: Resource, text: str) -> list[tuple[str, str, str]]:
    """The parts (field, "=" or "!=", value): a server reads metadata.name from it.

    Raises SelectorError for text that is no selector and for fields the kind does not support."""
    return [_field_part(resource, part) for part in _split(text) if part]


def _split(text: str) -> list[str]:
    """At commas that no backslash escapes."""
    return re.split(r"(?<!\\),", text)


def _field_part(resource: Resource, part: str) -> tuple[str, str, str]:
    for operator in ("!=", "==", "="):
        name, found, value = part.partition(operator)
        if found:
            break
    else:
        raise SelectorError(f"invalid selector: '{part}'; can't understand '{part}'")
    _path_of(resource, name)
    plain = value.replace("\\,", ",").replace("\\=", "=").replace("\\\\", "\\")
    return (name, "!=" if operator == "!=" else "=", plain)


def _path_of(resource: Resource, name: str) -> tuple[str, str]:
    if name == "metadata.name" or (name == "metadata.namespace" and resource.namespaced):
        return (name, "")
    own = _FIELDS.get(resource.group_name, {})
    if name in own:
        return own[name]
    if own:
        raise SelectorError(f"field label not supported: {name}")
    raise SelectorError(
        f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


def field_selector(resource: Resource, text: str) -> ObjectPredicate:
    """``metadata.name=a,status.phase!=Running`` over objects; raises SelectorError."""
    parts = [
        (*_path_of(resource, name), operator == "=", value)
        for name, operator, value in field_requirements(resource, text)
    ]
    tests = [(path.split("."), absent, wanted, value) for path, absent, wanted, value in parts]
    return lambda obj: all(
        (_text(obj, path, absent) == value) == wanted for path, absent, wanted, value in tests
    )


def _text(obj: Any, path: list[str], absent: str) -> str:
    for name in path:
        obj = obj.get(name) if isinstance(obj, dict) else None
    if isinstance(obj, bool):
        return "true" if obj else "false"
    return absent if obj is None else str(obj)
