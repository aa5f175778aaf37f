"""JSON patch, JSON merge patch and strategic merge patch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.kube.schema.kinds import Resource
from proa.kube.schema.merge import PatchError, json_patch, merge_patch, strategic_merge
from tests.unit.kube.schema.world import container, deployment, deployments, pod, pods, resource

JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("doc", "operation", "result"),
    [
        ({"a": 1}, {"op": "add", "path": "/b", "value": 2}, {"a": 1, "b": 2}),
        ({"a": [1, 3]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2, 3]}),
        ({"a": [1]}, {"op": "add", "path": "/a/-", "value": 2}, {"a": [1, 2]}),
        ({"a": 1}, {"op": "remove", "path": "/a"}, {}),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/0"}, {"a": [2]}),
        ({"a": 1}, {"op": "replace", "path": "/a", "value": None}, {"a": None}),
        ({"a": 1}, {"op": "replace", "path": "", "value": {"b": 2}}, {"b": 2}),
        ({"a": {"b": 1}}, {"op": "move", "from": "/a/b", "path": "/c"}, {"a": {}, "c": 1}),
        ({"a": {"b": 1}}, {"op": "copy", "from": "/a", "path": "/c"},
         {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a/b": {"~": 1}}, {"op": "replace", "path": "/a~1b/~0", "value": 2}, {"a/b": {"~": 2}}),
        ({"a": 1}, {"op": "test", "path": "/a", "value": 1}, {"a": 1}),
        ({}, {"op": "test", "path": "/a", "value": None}, {}),
    ],
)  # fmt: skip
def test_json_patch_operation_does_what_the_rfc_says(doc: Any, operation: Any, result: Any) -> None:
    before = copy.deepcopy(doc)
    assert json_patch(doc, [operation]) == result
    assert doc == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/missing"},
        {"op": "replace", "path": "/missing", "value": 1},
        {"op": "add", "path": "/missing/b", "value": 1},
        {"op": "add", "path": "/list/7", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "/b"},
        {"op": "test", "path": "/flag", "value": 1},
        {"op": "move", "from": "/object", "path": "/object/inner"},
        {"op": "paint", "path": "/b"},
        {"op": "add", "path": "b", "value": 1},
    ],
)
def test_json_patch_that_does_not_apply_is_refused(operation: dict[str, Any]) -> None:
    doc = {"list": [1], "flag": True, "object": {}}
    with pytest.raises(PatchError):
        json_patch(doc, [operation])
    assert doc == {"list": [1], "flag": True, "object": {}}


def test_json_patch_of_too_many_operations_is_refused() -> None:
    with pytest.raises(PatchError) as refused:
        json_patch({}, [{"op": "add", "path": "/a", "value": 1}] * 10_001)
    assert refused.value.status == 413


@given(JSON_VALUES, JSON_VALUES)
def test_merge_patch_leaves_no_nulls_of_the_patch_and_its_input_alone(doc: Any, patch: Any) -> None:
    before = copy.deepcopy(doc)
    result = merge_patch(doc, patch)
    assert doc == before
    if isinstance(patch, dict):
        for key, value in patch.items():
            assert (key in result) == (value is not None)
    else:
        assert result == patch


def containers(obj: Any) -> Any:
    return obj["spec"]["containers"]


def test_lists_merge_by_their_key_and_others_are_replaced() -> None:
    doc = pod(containers=[container(args=["a"]), {"name": "side", "image": "s:1"}])
    patch = {"spec": {"containers": [{"name": "web", "image": "nginx:2", "args": ["b"]}]}}
    merged = strategic_merge(pods(), doc, patch)
    assert containers(merged) == [
        {"name": "web", "image": "nginx:2", "args": ["b"]},
        {"name": "side", "image": "s:1"},
    ]
    assert containers(doc)[0]["image"] == "nginx:1"


def test_patch_delete_removes_an_item_and_null_a_field() -> None:
    doc = pod(containers=[container(), {"name": "side", "image": "s:1"}], hostname="h")
    patch = {
        "spec": {"hostname": None, "containers": [{"name": "side", "$patch": "delete"}]},
    }
    assert strategic_merge(pods(), doc, patch)["spec"] == {"containers": [container()]}


def test_patch_replace_replaces_a_whole_list_or_map() -> None:
    doc = deployment()
    doc["metadata"]["labels"] = {"a": "1"}
    patch = {
        "metadata": {"labels": {"$patch": "replace", "b": "2"}},
        "spec": {
            "template": {
                "spec": {"containers": [{"$patch": "replace"}, {"name": "new", "image": "n"}]}
            }
        },
    }
    merged = strategic_merge(deployments(), doc, patch)
    assert merged["metadata"]["labels"] == {"b": "2"}
    assert containers(merged["spec"]["template"]) == [{"name": "new", "image": "n"}]


def test_set_element_order_puts_items_in_order_and_keeps_the_servers_between() -> None:
    doc = pod(containers=[{"name": name} for name in ("a", "server", "b")])
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "new"}, {"name": "a"}],
            "containers": [{"name": "new"}],
        }
    }
    merged = strategic_merge(pods(), doc, patch)
    assert [item["name"] for item in containers(merged)] == ["server", "b", "new", "a"]


def test_primitive_lists_merge_as_sets_and_lose_what_is_deleted() -> None:
    doc = {"metadata": {"finalizers": ["a", "b"]}}
    patch = {
        "metadata": {
            "$deleteFromPrimitiveList/finalizers": ["a"],
            "$setElementOrder/finalizers": ["c", "b"],
            "finalizers": ["c", "b"],
        }
    }
    assert strategic_merge(pods(), doc, patch)["metadata"]["finalizers"] == ["c", "b"]


def test_retain_keys_drops_the_other_members_of_a_union() -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    merged = strategic_merge(deployments(), deployment(strategy=strategy), patch)
    assert merged["spec"]["strategy"] == {"type": "Recreate"}
    volumes = pod(volumes=[{"name": "v", "emptyDir": {}}])
    change = {"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}
    merged = strategic_merge(pods(), volumes, {"spec": {"volumes": [change]}})
    assert merged["spec"]["volumes"] == [{"name": "v", "hostPath": {"path": "/x"}}]


def test_service_ports_merge_by_number() -> None:
    doc = {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 443, "name": "b"}]}}
    patch = {"spec": {"ports": [{"port": 443, "name": "tls"}]}}
    merged = strategic_merge(resource("services"), doc, patch)
    assert [port["name"] for port in merged["spec"]["ports"]] == ["a", "tls"]


def test_item_without_its_merge_key_is_refused() -> None:
    patch = {"spec": {"containers": [{"image": "x"}]}}
    with pytest.raises(PatchError, match="does not contain declared merge key: name"):
        strategic_merge(pods(), pod(), patch)
    with pytest.raises(PatchError, match="unknown patch type found: odd"):
        strategic_merge(pods(), pod(), {"spec": {"$patch": "odd"}})


def test_kind_without_a_schema_takes_no_strategic_patch() -> None:
    custom = Resource("shop.io", "v1", "carts", "Cart", "cart", True)
    with pytest.raises(PatchError) as refused:
        strategic_merge(custom, {}, {})
    assert refused.value.status == 415


def test_new_maps_and_lists_hold_no_directives() -> None:
    patch = {
        "spec": {
            "volumes": [{"$retainKeys": ["name", "emptyDir"], "name": "v", "emptyDir": {}}],
            "securityContext": {"runAsUser": 5, "fsGroup": None},
        }
    }
    merged = strategic_merge(pods(), pod(), patch)["spec"]
    assert merged["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert merged["securityContext"] == {"runAsUser": 5}


def test_copies_may_not_grow_a_document_without_bound() -> None:
    """Each copies the whole document into itself: twice the size, one operation later."""
    doubling = [{"op": "copy", "from": "", "path": f"/{index}"} for index in range(40)]
    with pytest.raises(PatchError, match="accumulated size increase of copy") as caught:
        json_patch({"a": "x" * 1024}, doubling)
    assert caught.value.status == 422
    small = [{"op": "copy", "from": "/a", "path": f"/b{index}"} for index in range(100)]
    assert len(json_patch({"a": "x"}, small)) == 101


def test_patches_nested_too_deeply_are_the_callers_fault() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    for patch in (
        lambda: merge_patch({}, {"x": deep}),
        lambda: json_patch({}, [{"op": "add", "path": "/x", "value": deep}]),
        lambda: strategic_merge(deployments(), deployment(), {"x": deep}),
    ):
        with pytest.raises(PatchError, match="exceeded max depth") as caught:
            patch()
        assert caught.value.status == 400


def test_new_items_of_a_patch_without_an_order_go_before_the_servers() -> None:
    before = pod(containers=[container(name="a"), container(name="b")])
    patch = {"spec": {"containers": [{"name": "new", "image": "x"}, {"name": "b", "image": "y"}]}}
    merged = strategic_merge(pods(), before, patch)
    assert [item["name"] for item in merged["spec"]["containers"]] == ["new", "a", "b"]
    patch = {"spec": {"containers": [{"name": "new", "image": "x"}]}}
    merged = strategic_merge(pods(), before, patch)
    assert [item["name"] for item in merged["spec"]["containers"]] == ["new", "a", "b"]
