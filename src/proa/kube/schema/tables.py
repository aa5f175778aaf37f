"""meta.k8s.io/v1 Table: the columns that ``kubectl get`` shows.

The API answers with these where the Accept header asks for ``as=Table``. Which columns a resource
has is data (``kube.schema.printers``); custom resources bring their own as ``columns``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from proa.kube.schema.kinds import Resource
from proa.kube.schema.printers.cluster import CLUSTER
from proa.kube.schema.printers.common import AGE, NAME, Column
from proa.kube.schema.printers.pods import PODS, finished_condition
from proa.kube.schema.printers.services import SERVICES
from proa.kube.schema.printers.storage import STORAGE
from proa.kube.schema.printers.workloads import WORKLOADS

Include = Literal["None", "Metadata", "Object"]
JSON = dict[str, Any]
COLUMNS = {**PODS, **WORKLOADS, **SERVICES, **STORAGE, **CLUSTER}


def columns_of(resource: Resource) -> Sequence[Column]:
    """The columns of a resource: its own, or name and age."""
    versioned = COLUMNS.get((f"{resource.group}/{resource.version}", resource.name))
    return versioned or COLUMNS.get(resource.group_name) or (NAME, AGE)


def table(
    resource: Resource,
    objects: list[JSON],
    now: float,
    include: Include = "Metadata",
    columns: Sequence[Column] = (),
) -> JSON:
    """A Table of objects; ``now`` in seconds since 1970 dates the AGE cells.

    The list's own metadata (resourceVersion, continue) is the caller's to add."""
    columns = columns or columns_of(resource)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [_row(resource, columns, obj, now, include) for obj in objects],
    }


def _definition(column: Column) -> JSON:
    return {
        "name": column.name,
        "type": column.type,
        "format": "name" if column.name == "Name" else "",
        "description": "",
        "priority": column.priority,
    }


def _row(
    resource: Resource, columns: Sequence[Column], obj: JSON, now: float, include: Include
) -> JSON:
    row: JSON = {"cells": [column.value(obj, now) for column in columns]}
    if resource.name == "pods" and (conditions := finished_condition(obj)):
        row["conditions"] = conditions
    if include == "Metadata":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj.get("metadata", {}),
        }
    elif include == "Object":
        row["object"] = obj
    return row
