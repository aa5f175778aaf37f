"""Inputs of AWS operations drawn at random from their models, for tests that no input is our bug.

Ids of things that are there come up often, so that calls get past the first look-up.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

WORDS = (
    "", "x", "default", "-1", "tcp", "10.0.0.0/16", "10.0.1.0/24", "0.0.0.0/0", "10.0.0.9", "::/0",
    "a" * 300, "/app/x", "arn:aws:x", "ä", "{}", "*", "true", "us-east-1a", "AWSCURRENT", "%",
)  # fmt: skip
NUMBERS = (-1, 0, 1, 5, 7, 100, 443, 32767, 65536, 2**31)


class Drawer:
    """Draws inputs; ``known`` are ids and names of things that are there."""

    def __init__(self, seed: int, known: Sequence[str]) -> None:
        self._random, self._known = random.Random(seed), known

    def operation(self, names: Sequence[str]) -> str:
        return self._random.choice(names)

    def input(self, shape: Any) -> dict[str, Any]:
        """A value of an input shape, its required members among others."""
        drawn: dict[str, Any] = self._value(shape, 0)
        return drawn

    def _value(self, shape: Any, depth: int) -> Any:
        chance = self._random
        if shape.type_name == "structure":
            some = 0.3 if depth else 0.4
            return {
                name: self._value(member, depth + 1)
                for name, member in shape.members.items()
                if name != "DryRun"
                and depth < 4
                and (name in shape.required_members or chance.random() < some)
            }
        if shape.type_name == "list":
            return [self._value(shape.member, depth + 1) for _ in range(chance.randint(0, 2))]
        if shape.type_name == "map":
            return {chance.choice(WORDS): self._value(shape.value, depth + 1)}
        if shape.type_name == "boolean":
            return chance.random() < 0.5
        if shape.type_name in ("integer", "long", "float", "double"):
            return chance.choice(NUMBERS)
        if shape.type_name == "blob":
            return chance.choice((b"", b"\x00\xff", b"text"))
        if shape.type_name == "timestamp":
            return 1_700_000_000
        if getattr(shape, "enum", None) and chance.random() < 0.8:
            return chance.choice(shape.enum)
        return chance.choice(self._known if chance.random() < 0.6 else WORDS)
