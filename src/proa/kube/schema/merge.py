"""Patches of objects: JSON patch, JSON merge patch, strategic merge patch, server-side apply.

The API's PATCH handler picks one by content type. All of them leave the document they were given
alone and share nothing with it, so defaults may be written into the result. Any patch ends in a
result or a PatchError: operations, copied bytes and depth are bounded. Server-side apply is
``kube.schema.apply``, offered here with the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from proa.kube.schema.apply import ApplyConflict as ApplyConflict
from proa.kube.schema.apply import apply_patch as apply_patch
from proa.kube.schema.apply import track_update as track_update
from proa.kube.schema.kinds import Resource
from proa.kube.schema.strategic import PatchError as PatchError
from proa.kube.schema.strategic import StrategicMerge, clone

JSON = dict[str, Any]
MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 * 1024 * 1024
"""What the copies of one JSON patch may add: kube-apiserver's JSONPatchMaxCopyBytes."""


@contextmanager
def _bounded_depth() -> Iterator[None]:
    """The words of Go's decoder where a document is nested deeper than can be walked."""
    try:
        yield
    except RecursionError:
        raise PatchError("exceeded max depth", 400) from None


def strategic_merge(resource: Resource, doc: JSON, patch: JSON) -> JSON:
    """A strategic merge patch by the kind's merge keys; raises PatchError."""
    if resource.schemas is None:
        raise PatchError("strategic merge patch format is not supported", 415)
    merge = StrategicMerge(resource.schemas)
    with _bounded_depth():
        return merge.merge_kind(resource.schema_ref, clone(doc), clone(patch))


def merge_patch(doc: Any, patch: Any) -> Any:
    """RFC 7386; raises PatchError."""
    with _bounded_depth():
        return _merged(doc, patch)


def _merged(doc: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return clone(patch)
    merged = clone(doc) if isinstance(doc, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def json_patch(doc: Any, patch: list[JSON]) -> Any:
    """RFC 6902; raises PatchError."""
    if not isinstance(patch, list) or not all(isinstance(item, dict) for item in patch):
        raise PatchError("json: cannot unmarshal object into Go value of type jsonpatch.Patch", 400)
    if len(patch) > MAX_OPERATIONS:
        raise PatchError(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}",
            413,
        )
    copied = 0
    with _bounded_depth():
        result = clone(doc)
        for operation in patch:
            if operation.get("op") == "copy":
                copied = _with_copy(copied, result, operation)
            result = _operate(result, operation)
    return result


def _with_copy(copied: int, doc: Any, operation: JSON) -> int:
    """The bytes copied so far and by this operation: a few copies of copies fill any memory."""
    value = _at(doc, _pointer(operation.get("from")), "copy")
    copied += len(json.dumps(value, separators=(",", ":")))
    if copied > MAX_COPIED_BYTES:
        raise PatchError(
            "Unable to complete the copy, the accumulated size increase of copy is "
            f"{copied}, exceeding the limit {MAX_COPIED_BYTES}"
        )
    return copied


def _operate(doc: Any, operation: JSON) -> Any:
    kind, path = operation.get("op"), _pointer(operation.get("path"))
    if kind in ("add", "replace", "test") and "value" not in operation:
        raise PatchError(f"{kind} operation does not apply: missing value", 422)
    if kind == "add":
        return _add(doc, path, clone(operation["value"]))
    if kind == "remove":
        _remove(doc, path)
        return doc
    if kind == "replace":
        _at(doc, path, "replace")
        if not path:
            return clone(operation["value"])
        _put(doc, path, clone(operation["value"]))
        return doc
    if kind == "test":
        found = _at(doc, path, "test") if operation["value"] is not None else _maybe(doc, path)
        if not _same(found, operation["value"]):
            raise PatchError(f"testing value {operation['path']} failed: test failed")
        return doc
    if kind in ("move", "copy"):
        origin = _pointer(operation.get("from"))
        value = clone(_at(doc, origin, kind))
        if kind == "move":
            if path[: len(origin)] == origin and path != origin:
                raise PatchError("unable to move a value into itself")
            _remove(doc, origin)
        return _add(doc, path, value)
    raise PatchError(f"Unexpected kind: {kind}", 400)


def _pointer(text: Any) -> list[str]:
    """RFC 6901's reference tokens."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError(f"invalid JSON pointer: {text!r}", 400)
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _same(one: Any, other: Any) -> bool:
    """Equality that does not take true for 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _step(container: Any, token: str, operation: str) -> Any:
    if isinstance(container, dict) and token in container:
        return container[token]
    if isinstance(container, list):
        return container[_index(token, len(container) - 1, operation)]
    raise PatchError(f"{operation} operation does not apply: doc is missing key: {token}")


def _index(token: str, last: int, operation: str) -> int:
    if not token.isascii() or not token.isdigit() or (token[0] == "0" and token != "0"):
        raise PatchError(f"{operation} operation does not apply: invalid array index: {token}")
    if int(token) > last:
        raise PatchError(
            f"{operation} operation does not apply: Unable to access invalid index: {token}"
        )
    return int(token)


def _at(doc: Any, path: list[str], operation: str) -> Any:
    for token in path:
        doc = _step(doc, token, operation)
    return doc


def _maybe(doc: Any, path: list[str]) -> Any:
    try:
        return _at(doc, path, "test")
    except PatchError:
        return None


def _put(doc: Any, path: list[str], value: Any) -> None:
    parent, last = _at(doc, path[:-1], "replace"), path[-1]
    if isinstance(parent, list):
        parent[_index(last, len(parent) - 1, "replace")] = value
    else:
        parent[last] = value


def _add(doc: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _at(doc, path[:-1], "add"), path[-1]
    if isinstance(parent, list):
        at = len(parent) if last == "-" else _index(last, len(parent), "add")
        parent.insert(at, value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise PatchError(f"add operation does not apply: doc is missing path: /{'/'.join(path)}")
    return doc


def _remove(doc: Any, path: list[str]) -> None:
    if not path:
        raise PatchError("remove operation does not apply: the root cannot be removed")
    _at(doc, path, "remove")
    parent, last = _at(doc, path[:-1], "remove"), path[-1]
    del parent[int(last) if isinstance(parent, list) else last]
