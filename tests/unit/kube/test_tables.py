"""That tables file their rows as if each change were looked at whole: what an index says that it
looks at is all that it does look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import orjson
import pytest

from proa.base.clock import VirtualClock
from proa.kube.tables import TABLES
from proa.reconcile.view import Rows, Table, View
from proa.store.api import Batch, Event, Record
from proa.store.memory import MemoryStore

KEY = "/kube/c1/core/things/default/it"
# What never changes in an object's life: the place, and what a pod refers to.
FIXED = (".metadata.name", ".metadata.namespace", ".spec.volumes", ".spec.containers")
SPEC: dict[str, Any] = {
    "nodeName": "n1",
    "tolerations": [{"key": "k"}],
    "volumes": [{"name": "v", "configMap": {"name": "map"}}],
    "containers": [{"name": "c", "image": "i"}],
}
OTHERS = {"kube-services": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
BODY: dict[str, Any] = {
    "metadata": {
        "name": "it",
        "namespace": "default",
        "uid": "u",
        "labels": {"app": "web", "kubernetes.io/service-name": "web"},
        "annotations": {"note": "n"},
        "ownerReferences": [
            {"kind": "Job", "name": "a", "uid": "ua", "controller": True},
            {"kind": "Job", "name": "b", "uid": "ub"},
        ],
        "finalizers": ["f"],
        "deletionTimestamp": "2026-01-01T00:00:00Z",
    },
    "involvedObject": {"uid": "about"},
    "status": {"phase": "Failed"},
}


def changed(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """A value with each part of it, by its path, another or none."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            for where, part in changed(getattr(value, name), f"{path}.{name}"):
                yield where, msgspec.structs.replace(value, **{name: part})
    elif isinstance(value, bool):
        yield path, not value
    elif isinstance(value, int | float):
        yield path, value + 1
    elif isinstance(value, str):
        yield path, ""
        yield path, f"{value}x"
    elif isinstance(value, bytes):
        yield path, b"%bx" % value
    elif isinstance(value, tuple):
        yield path, value[1:]
        for number, item in enumerate(value):
            for where, part in changed(item, path):
                yield where, (*value[:number], part, *value[number + 1 :])
    elif isinstance(value, dict):
        yield path, {}
        for name, item in value.items():
            for where, part in changed(item, path):
                yield where, {**value, name: part}


def filed(rows: Rows[Any]) -> dict[str, list[str]]:
    return {name: rows.values_of(name) for name in rows.table.indexes}


def held(table: Table[Any], values: list[Any]) -> dict[str, list[str]]:
    """Under what a row is found that has had these values, one after the other."""
    known = replace(
        table, prefix="/", matches=lambda _key: True, decode=lambda body: values[int(body)]
    )
    view = View(MemoryStore(VirtualClock()), [known])
    for number in range(len(values)):
        record = Record(KEY, b"%d" % number, number + 1, 1)
        view.take(Batch((Event("put", record, None),), number + 1))
    return filed(view.rows(known))


INDEXED = [table for table in TABLES if table.indexes]


@pytest.mark.parametrize("table", INDEXED, ids=[table.name for table in INDEXED])
def test_a_changed_row_is_found_as_a_new_one_would_be(table: Table[Any]) -> None:
    spec = SPEC if table.name == "kube-pods" else OTHERS.get(table.name, {})
    value = table.decode(orjson.dumps({**BODY, "spec": spec}))
    for path, other in changed(value):
        if not path.startswith(FIXED):
            assert held(table, [value, other]) == held(table, [other]), path
