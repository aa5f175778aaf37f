"""Model constraints as closures: required members, lengths, ranges, patterns, enumerations.

A check gathers ``Violation``s in the words of AWS's common validator ("Value 'x' at 'path'
failed to satisfy constraint: Member must …"); ``phrase`` makes the one message of them. Values
are checked after parsing, so types are already right. A subtree without constraints compiles
to None and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from proa.wire.aws.faults import Violation
from proa.wire.aws.model import Model, Ref, Shape, cache_key, tied
from proa.wire.aws.patterns import compile_pattern

MAX_VIOLATIONS = 50
Check = Callable[[Any, str, list[Violation]], None]
# Returns True when the value satisfies the constraint.
Holds = Callable[[Any], bool]
Constraint = tuple[str, str, Holds]  # kind, "Member must …", the test


def phrase(violations: Sequence[Violation]) -> str:
    """One message for all violations, as AWS words it."""
    count = len(violations)
    noun = "error" if count == 1 else "errors"
    return f"{count} validation {noun} detected: " + "; ".join(v.text for v in violations)


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _show(value: Any) -> str:
    """A value as Java prints it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_show(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bytes):
        return "java.nio.HeapByteBuffer"
    return str(value)


def _failed(kind: str, path: str, shown: str | None, text: str) -> Violation:
    value = "Value" if shown is None else f"Value '{shown}'"
    return Violation(kind, path, f"{value} at '{path}' failed to satisfy constraint: {text}")


def constraints_of(shape: Shape) -> list[Constraint]:
    """What a value of this shape must satisfy by itself, its members aside."""
    found: list[Constraint] = []
    low, high = shape.traits.get("min"), shape.traits.get("max")
    if shape.type in ("string", "blob", "list", "map"):
        found += _length(low, high)
    elif shape.type in ("integer", "long", "float", "double"):
        found += _range(low, high)
    if shape.type == "string":
        if "enum" in shape.traits:
            found.append(_enumeration(shape.traits["enum"]))
        pattern = shape.traits.get("pattern")
        compiled = compile_pattern(pattern) if pattern else None
        if compiled is not None:
            text = f"Member must satisfy regular expression pattern: {pattern}"
            matches = compiled.fullmatch
            found.append(("value", text, lambda value: matches(value) is not None))
    return found


def _length(low: Any, high: Any) -> list[Constraint]:
    found: list[Constraint] = []
    if high is not None:
        text = f"Member must have length less than or equal to {int(high)}"
        found.append(("value", text, lambda value: len(value) <= high))
    if low:
        text = f"Member must have length greater than or equal to {int(low)}"
        found.append(("value", text, lambda value: len(value) >= low))
    return found


def _range(low: Any, high: Any) -> list[Constraint]:
    found: list[Constraint] = []
    if high is not None:
        text = f"Member must have value less than or equal to {high:g}"
        found.append(("value", text, lambda value: value <= high))
    if low is not None:
        text = f"Member must have value greater than or equal to {low:g}"
        found.append(("value", text, lambda value: value >= low))
    return found


def _enumeration(values: Sequence[str]) -> Constraint:
    allowed = frozenset(values)
    text = f"Member must satisfy enum value set: [{', '.join(values)}]"
    return "enum", text, lambda value: value in allowed


class ValidationCompiler:
    """Compiles the input shapes of one model. ``name_of`` gives a member's name in paths."""

    def __init__(
        self, model: Model, enforce_enums: bool, name_of: Callable[[str, Ref], str] | None = None
    ) -> None:
        self._model, self._enums = model, enforce_enums
        self._name_of = name_of or (lambda name, _ref: _lower(name))
        self._checks: dict[tuple[Any, ...], Check | None] = {}

    def check(self, ref: Ref) -> Check | None:
        """The check of a shape, or None where there is nothing to check."""
        shape = self._model.shape(ref)
        return tied(self._checks, cache_key(ref), lambda: self._build(shape))

    def _build(self, shape: Shape) -> Check | None:
        own = self._own(shape)
        inner: Check | None = None
        if shape.type == "structure" and not shape.traits.get("document"):
            inner = self._structure(shape)
        elif shape.type == "list":
            inner = self._list(shape)
        elif shape.type == "map":
            inner = self._map(shape)
        if own is None or inner is None:
            return own or inner
        outer, nested = own, inner

        def both(value: Any, path: str, out: list[Violation]) -> None:
            outer(value, path, out)
            nested(value, path, out)

        return both

    def _constraints(self, shape: Shape) -> list[Constraint]:
        return [c for c in constraints_of(shape) if self._enums or c[0] != "enum"]

    def _own(self, shape: Shape) -> Check | None:
        constraints = self._constraints(shape)
        if not constraints:
            return None
        hidden = bool(shape.traits.get("sensitive"))

        def check(value: Any, path: str, out: list[Violation]) -> None:
            broken: list[Violation] = []
            for kind, text, holds in constraints:
                if not holds(value):
                    broken.append(_failed(kind, path, None if hidden else _show(value), text))
                    if "less than or equal" in text:  # no pattern on what is too long already
                        break
            # AWS names the pattern before the length.
            out.extend(reversed(broken[: MAX_VIOLATIONS - len(out)]))

        return check

    def _structure(self, shape: Shape) -> Check | None:
        required = [
            (name, self._name_of(name, ref))
            for name, ref in shape.members.items()
            if name in shape.required
        ]
        checks = []
        for name, ref in shape.members.items():
            check = self.check(ref)
            if check is not None:
                checks.append((name, self._name_of(name, ref), check))
        if not required and not checks:
            return None

        def run(value: dict[str, Any], path: str, out: list[Violation]) -> None:
            prefix = f"{path}." if path else ""
            for name, shown in required:
                if name not in value and len(out) < MAX_VIOLATIONS:
                    where = prefix + shown
                    text = f"Value null at '{where}' failed to satisfy constraint: "
                    out.append(Violation("required", where, text + "Member must not be null"))
            for name, shown, check in checks:
                item = value.get(name)
                if item is not None:
                    check(item, prefix + shown, out)

        return run

    def _list(self, shape: Shape) -> Check | None:
        ref = shape.traits["member"]
        member = self._model.shape(ref)
        if member.type in ("structure", "list", "map"):
            check = self.check(ref)
            if check is None:
                return None
            nested = check

            def walk(value: list[Any], path: str, out: list[Violation]) -> None:
                for index, item in enumerate(value, 1):
                    if item is not None:
                        nested(item, f"{path}.{index}.member", out)

            return walk
        return self._elements(self._constraints(member), "Member", lambda value: value)

    def _map(self, shape: Shape) -> Check | None:
        keys = self._elements(
            self._constraints(self._model.shape(shape.traits["key"])), "Map keys", list
        )
        value_ref = shape.traits["value"]
        value_shape = self._model.shape(value_ref)
        values: Check | None
        if value_shape.type in ("structure", "list", "map"):
            values = self._map_values(self.check(value_ref))
        else:
            values = self._elements(
                self._constraints(value_shape), "Map value", lambda value: list(value.values())
            )
        checks = [check for check in (keys, values) if check is not None]
        if not checks:
            return None

        def run(value: dict[str, Any], path: str, out: list[Violation]) -> None:
            for check in checks:
                check(value, path, out)

        return run

    @staticmethod
    def _map_values(check: Check | None) -> Check | None:
        if check is None:
            return None

        def run(value: dict[str, Any], path: str, out: list[Violation]) -> None:
            for key, item in value.items():
                if item is not None:
                    check(item, f"{path}.{key}.member", out)

        return run

    @staticmethod
    def _elements(
        constraints: list[Constraint], subject: str, items_of: Callable[[Any], list[Any]]
    ) -> Check | None:
        """Scalars in a list or map: one violation for the whole, listing every constraint."""
        if not constraints:
            return None
        listing = ", ".join(text for _, text, _ in constraints)

        def run(value: Any, path: str, out: list[Violation]) -> None:
            for item in items_of(value):
                kind = next(
                    (k for k, _, holds in constraints if item is None or not holds(item)), None
                )
                if kind is not None and len(out) < MAX_VIOLATIONS:
                    text = f"{subject} must satisfy constraint: [{listing}]"
                    out.append(_failed(kind, path, _show(value), text))
                    return

        return run
