"""Fields that a JSON body says twice, which decoders silently take the last of.

``bodies`` asks for every written object. The common body has none: it is what was decoded, written
again, or has as many strings or keys. Only a body with more keys is read again, slowly, to name
them as kube-apiserver's strict decoding does.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

SHOWN = 32  # more are not named
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"\s*(:?)', re.DOTALL)


def duplicate_fields(body: bytes, found: Any) -> list[str]:
    """The paths (``spec.containers[0].name``) of fields that stand twice in ``body``, which was
    decoded to ``found``. Raises ValueError for a body too deep to be encoded again."""
    try:
        compact = orjson.dumps(found)
        if compact == body:
            return []
    except orjson.JSONEncodeError as error:
        raise ValueError("exceeded max depth") from error
    if b"\\" not in body and body.count(b'"') == compact.count(b'"'):
        return []  # as many strings as what was decoded has
    if sum(map(len, _STRINGS.findall(body))) == _fields(found):
        return []
    return _paths(json.loads(body, object_pairs_hook=_Pairs), "")[:SHOWN]


def _fields(value: Any) -> int:
    """The fields of a decoded value, at every depth."""
    count = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            count += len(item)
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return count


class _Pairs:
    """An object as it was written."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _paths(value: Any, path: str) -> list[str]:
    found: list[str] = []
    if isinstance(value, list):
        for index, item in enumerate(value):
            found += _paths(item, f"{path}[{index}]")
    if not isinstance(value, _Pairs):
        return found
    seen: set[str] = set()
    for name, item in value.pairs:
        below = f"{path}.{name}" if path else name
        if name in seen:
            found.append(below)
        seen.add(name)
        found += _paths(item, below)
    return found
