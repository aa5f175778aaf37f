"""Laws of the whole way in: whatever fits a kind's schema meets defaults, rules and patches.

Objects are built at random from the definitions. The values are odd (empty, negative, much too
large, of the wrong grammar) but of the right types: nothing after decoding may fall over them.
"""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from proa.kube.schema.cache import Shape
from proa.kube.schema.defaults import apply_defaults
from proa.kube.schema.kinds import Resource
from proa.kube.schema.merge import PatchError, strategic_merge
from proa.kube.schema.rules import check_create, check_update
from proa.kube.schema.validate import decode_error, prune_unknown
from tests.unit.kube.schema.world import kinds, schemas

JSON = dict[str, Any]
DEEPEST = 14
OBJECTS = 300
VALUES: dict[str, list[Any]] = {
    "string": ["", "a", "A b", "x/y", "1", "150%", "..", "::1", "10.0.0.0/8", "None", "Always",
               "RollingUpdate", "ClusterIP", "Exists", "In", "*", "* * * * *", "Indexed", "cpu",
               "kubernetes.io/tls", "ä"],
    "boolean": [True, False],
    "integer": [0, 1, -1, 3, 80, 65536, 2**31 - 1, -(2**31)],
    "number": [0, 1.5],
    "bytes": ["", "eA==", "e30=", "/w=="],
    "quantity": ["0", "1", "-1", "500m", "1Gi", "1e3", "1n", 3],
    "int-or-string": [0, 1, -1, "50%", "x", "", 70000],
    "time": ["2020-01-01T00:00:00Z"],
    "micro-time": ["2020-01-01T00:00:00.000000Z"],
    "any": [{}, {"a": 1}, [], "x", 1],
    "raw-object": [{"a": 1}],
}  # fmt: skip


def value_of(shape: Shape, chance: random.Random, depth: int) -> Any:
    if shape.kind == "object":
        return fields_of(shape.ref, chance, depth + 1)
    if shape.kind in ("list", "map"):
        assert shape.item is not None
        items = [value_of(shape.item, chance, depth) for _ in range(chance.choice([0, 1, 1, 2]))]
        if shape.kind == "list":
            return items
        return {chance.choice([*VALUES["string"], "memory"]): item for item in items}
    return chance.choice(VALUES[shape.kind])


def fields_of(name: str, chance: random.Random, depth: int) -> JSON:
    definition = schemas().definition(name)
    share = 0.5 if depth < 3 else 0.3 if depth < 7 else 0.1
    likely = {"spec", "template", "containers", *definition.required}
    return {
        key: value_of(shape, chance, depth)
        for key, shape in definition.fields.items()
        if depth < DEEPEST and chance.random() < (0.8 if key in likely else share)
    }


def admitted(resource: Resource, chance: random.Random, metadata: JSON) -> JSON | None:
    """A random object as it is after decoding and defaults, None if it is not decoded."""
    obj = fields_of(resource.schema_ref, chance, 0)
    obj |= {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    if decode_error(resource, obj):
        return None
    kept = copy.deepcopy(prune_unknown(resource, obj))
    apply_defaults(resource, kept)
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_fits_its_schema_makes_defaults_rules_or_patches_fall_over(seed: int) -> None:
    chance = random.Random(seed)
    built_in = [resource for resource in kinds().resources() if resource.schemas is not None]
    admitted_objects = accepted = 0
    for _ in range(OBJECTS):
        resource = chance.choice(built_in)
        metadata = {"name": "a", "namespace": "d"}
        old, new = (admitted(resource, chance, dict(metadata)) for _ in range(2))
        if old is None or new is None:
            continue
        admitted_objects += 1
        again = copy.deepcopy(old)
        apply_defaults(resource, again)
        assert again == old, "defaults of a defaulted object change nothing"
        assert decode_error(resource, old) == "", "defaults are of the schema's types"
        faults = check_create(resource, old)
        assert all(fault.message() for fault in faults)
        if not faults:
            accepted += 1
            assert check_update(resource, old, again) == [], "what was created may stay as it is"
        assert all(fault.message() for fault in check_update(resource, old, new))
        try:
            strategic_merge(resource, old, new)
        except PatchError as error:
            assert error.status in (400, 422)
    assert admitted_objects > OBJECTS // 2
    assert accepted > 10
