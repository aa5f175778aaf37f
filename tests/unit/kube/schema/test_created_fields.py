"""What a creation owns is said in one walk, as the sets of paths would say it."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from proa.kube.schema.cache import SchemaCache
from proa.kube.schema.fieldsets import fields_of, to_tree, tree_of
from proa.kube.schema.kinds import load_kinds

_TEXT = st.sampled_from(["a", "b", "é", ""])
_PORT = st.fixed_dictionaries(
    {},
    optional={
        "containerPort": st.sampled_from([80, 81]),
        "protocol": st.sampled_from(["TCP", "UDP"]),
        "name": _TEXT,
        "hostPort": st.none() | st.just(1),
    },
)
_CONTAINER = st.fixed_dictionaries(
    {"name": _TEXT},
    optional={
        "ports": st.lists(_PORT, max_size=3),
        "command": st.lists(_TEXT, max_size=2),
        "resources": st.dictionaries(
            st.sampled_from(["limits", "requests"]), st.dictionaries(_TEXT, _TEXT, max_size=2)
        ),
        "unknown": _TEXT,
    },
)
_PODS = st.fixed_dictionaries(
    {"apiVersion": st.just("v1"), "kind": st.just("Pod")},
    optional={
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "name": _TEXT,
                "uid": _TEXT,
                "labels": st.none() | st.dictionaries(_TEXT, _TEXT, max_size=2),
                "finalizers": st.lists(_TEXT, max_size=2),
                "ownerReferences": st.lists(
                    st.fixed_dictionaries({"uid": _TEXT, "controller": st.booleans()}), max_size=2
                ),
            },
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containers": st.lists(_CONTAINER, max_size=3),
                "nodeSelector": st.dictionaries(_TEXT, _TEXT, max_size=2),
                "hostNetwork": st.none() | st.booleans(),
            },
        ),
        "status": st.just({"phase": "Running"}),
        "nonsense": st.just(1),
    },
)


@cache
def _schemas() -> tuple[SchemaCache, str]:
    schemas = SchemaCache.open(None)
    found = load_kinds(schemas).by_kind("", "v1", "Pod")
    assert found is not None
    return schemas, found.schema_ref


@settings(max_examples=150, deadline=None)
@given(_PODS)
def test_the_tree_of_a_creation_is_that_of_its_paths(pod: dict[str, object]) -> None:
    schemas, name = _schemas()
    paths = (path for path in fields_of(schemas, name, pod) if path[0] != "f:status")
    assert tree_of(schemas, name, pod, "status") == to_tree(paths)
