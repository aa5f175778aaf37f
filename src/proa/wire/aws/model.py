"""Reads a service model as botocore ships it, for the compilers of this package.

``load_model`` reads one JSON file; nothing here outlives the compilation of a service, so that
only the compiled closures stay in memory. A ``Shape`` is a shape with the traits of the place
that refers to it laid over its own, which is how the models mean them.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

import orjson

Ref = Mapping[str, Any]
_FILES = ("service-2.json.gz", "service-2.json")
# Traits that never change how a value is written or checked, kept out of cache keys.
_PROSE = frozenset({"documentation", "deprecated", "deprecatedMessage", "deprecatedSince"})


class UnknownService(LookupError):
    """botocore has no model of this name."""


@dataclass(slots=True, frozen=True)
class Shape:
    """One use of a shape. ``type`` is the model's word: structure, list, map, string …"""

    name: str
    type: str
    traits: Mapping[str, Any]

    @property
    def members(self) -> Mapping[str, Ref]:
        """A structure's members by name, in the model's order."""
        members: Mapping[str, Ref] = self.traits.get("members", {})
        return members

    @property
    def required(self) -> frozenset[str]:
        """The members a structure cannot do without."""
        return frozenset(self.traits.get("required", ()))

    def wire_name(self, default: str) -> str:
        """The name on the wire: ``locationName`` where the model gives one."""
        return str(self.traits.get("locationName", default))


class Model:
    """One service model, resolved on demand."""

    def __init__(self, service: str, document: Mapping[str, Any]) -> None:
        self.service = service
        self.metadata: Mapping[str, Any] = document["metadata"]
        self.operations: Mapping[str, Mapping[str, Any]] = document["operations"]
        self._shapes: Mapping[str, Mapping[str, Any]] = document["shapes"]

    def shape(self, ref: Ref) -> Shape:
        """The shape that a reference means, the reference's own traits winning."""
        name = ref["shape"]
        base = self._shapes[name]
        return Shape(name, base["type"], {**base, **ref} if len(ref) > 1 else base)

    @cached_property
    def protocols(self) -> tuple[str, ...]:
        """Every protocol the service speaks, the preferred one first."""
        declared = self.metadata.get("protocols") or [self.metadata["protocol"]]
        return tuple(declared)

    def errors(self) -> Iterator[Shape]:
        """Every shape that is an exception."""
        for name, base in self._shapes.items():
            if base.get("exception"):
                yield Shape(name, base["type"], base)


C = TypeVar("C", bound=Callable[..., Any] | None)


def tied(cache: dict[tuple[Any, ...], C], key: tuple[Any, ...], build: Callable[[], C]) -> C:
    """The closure for ``key``, built once. While it is being built, a shape that refers to
    itself gets a stand-in that calls the finished closure."""
    if key in cache:
        return cache[key]
    slot: list[C] = []

    def stand_in(*arguments: Any) -> Any:
        return slot[0](*arguments) if slot[0] is not None else None

    cache[key] = stand_in  # type: ignore[assignment]
    slot.append(build())
    cache[key] = slot[0]
    return slot[0]


def cache_key(ref: Ref) -> tuple[Any, ...]:
    """What two references must share to share one compiled closure."""
    return tuple(sorted((key, repr(value)) for key, value in ref.items() if key not in _PROSE))


def _versions(folder: Traversable) -> list[tuple[str, Traversable]]:
    found = []
    for version in folder.iterdir():
        for name in _FILES:
            file = version / name
            if version.is_dir() and file.is_file():
                found.append((version.name, file))
                break
    return sorted(found, key=lambda item: item[0])


def load_model(service: str) -> Model:
    """The newest model of a service by botocore's name for it; raises UnknownService."""
    folder = resources.files("botocore") / "data" / service
    versions = _versions(folder) if folder.is_dir() else []
    if not versions:
        raise UnknownService(service)
    raw = versions[-1][1].read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    return Model(service, orjson.loads(raw))
