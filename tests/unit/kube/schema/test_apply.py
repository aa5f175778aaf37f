"""Server-side apply: what is merged, who owns what, what conflicts."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from proa.kube.schema.fieldsets import from_tree, to_tree
from proa.kube.schema.kinds import Resource
from proa.kube.schema.merge import ApplyConflict, apply_patch, track_update
from tests.unit.kube.schema.world import container, deployment, deployments, resource

NOW = 1_700_000_000.0


def applied(live: Any, config: Any, manager: str = "kubectl", *, force: bool = False) -> Any:
    return apply_patch(deployments(), live, config, manager=manager, force=force, now=NOW)


def updated(live: Any, manager: str, now: float = NOW + 5, **spec: Any) -> Any:
    """The object after somebody else set fields of its spec."""
    new = copy.deepcopy(live)
    new["spec"] |= spec
    entries = track_update(deployments(), live, new, manager=manager, now=now)
    new["metadata"]["managedFields"] = entries
    return new


def owners(obj: Any) -> dict[str, Any]:
    return {item["manager"]: item["fieldsV1"] for item in obj["metadata"]["managedFields"]}


def test_first_apply_makes_the_object_and_owns_what_it_sets() -> None:
    made = applied(None, deployment(replicas=2))
    entry = made["metadata"]["managedFields"][0]
    assert (entry["manager"], entry["operation"]) == ("kubectl", "Apply")
    spec = entry["fieldsV1"]["f:spec"]
    assert spec["f:replicas"] == {}
    assert spec["f:selector"] == {}
    in_list = spec["f:template"]["f:spec"]["f:containers"]
    assert in_list == {'k:{"name":"web"}': {".": {}, "f:image": {}, "f:name": {}}}
    assert "f:name" not in entry["fieldsV1"].get("f:metadata", {})


def test_same_apply_again_changes_nothing() -> None:
    once = applied(None, deployment(replicas=2))
    again = apply_patch(
        deployments(), once, deployment(replicas=2), manager="kubectl", force=False, now=NOW + 60
    )
    assert again == once


def test_quantities_are_compared_by_what_they_mean() -> None:
    config = deployment()
    config["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1000m"}}
    once = applied(None, config)
    limits = once["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "1"}
    assert applied(once, config, "other")["spec"] == once["spec"]


def test_field_of_another_with_another_value_is_a_conflict() -> None:
    live = updated(applied(None, deployment(replicas=2)), "autoscaler", replicas=5)
    assert owners(live)["autoscaler"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owners(live)["kubectl"]["f:spec"]
    with pytest.raises(ApplyConflict) as refused:
        applied(live, deployment(replicas=2))
    assert refused.value.causes == (("autoscaler", "apps/v1", ".spec.replicas"),)


def test_force_takes_the_field_over() -> None:
    live = updated(applied(None, deployment(replicas=2)), "autoscaler", replicas=5)
    forced = applied(live, deployment(replicas=2), force=True)
    assert forced["spec"]["replicas"] == 2
    assert set(owners(forced)) == {"kubectl"}


def test_equal_values_are_owned_together_and_stay_until_the_last_owner_leaves() -> None:
    both = applied(applied(None, deployment(replicas=2)), deployment(replicas=2), "helm")
    assert "f:replicas" in owners(both)["helm"]["f:spec"]
    without = applied(both, deployment())
    assert without["spec"]["replicas"] == 2
    alone = applied(without, deployment(), "helm")
    assert "replicas" not in alone["spec"]


def test_what_a_manager_leaves_out_later_is_removed() -> None:
    config = deployment(replicas=2)
    config["metadata"]["labels"] = {"a": "1", "b": "2"}
    first = copy.deepcopy(config)
    first["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "s"})
    live = applied(None, first)
    config["metadata"]["labels"] = {"b": "2"}
    del config["spec"]["replicas"]
    after = applied(live, config)
    assert after["metadata"]["labels"] == {"b": "2"}
    assert "replicas" not in after["spec"]
    assert after["spec"]["template"]["spec"]["containers"] == [container()]


def test_items_of_others_stay_in_a_keyed_list() -> None:
    live = applied(None, deployment())
    new = copy.deepcopy(live)
    sidecar = {"name": "proxy", "image": "p:1"}
    new["spec"]["template"]["spec"]["containers"].insert(0, sidecar)
    entries = track_update(deployments(), live, new, manager="injector", now=NOW + 1)
    new["metadata"]["managedFields"] = entries
    config = deployment()
    config["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:2"
    after = applied(new, config)
    assert after["spec"]["template"]["spec"]["containers"] == [sidecar, container(image="nginx:2")]


def test_conflict_in_a_list_names_the_item() -> None:
    live = applied(None, deployment())
    new = copy.deepcopy(live)
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:9"
    new["metadata"]["managedFields"] = track_update(
        deployments(), live, new, manager="hand", now=NOW
    )
    with pytest.raises(ApplyConflict) as refused:
        applied(new, deployment())
    path = '.spec.template.spec.containers[name="web"].image'
    assert [cause[2] for cause in refused.value.causes] == [path]


def test_port_without_a_protocol_is_the_same_port() -> None:
    services = resource("services")
    config = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "name": "a"}]}}
    live = apply_patch(services, None, config, manager="m", force=False, now=NOW)
    live["spec"]["ports"][0] |= {"protocol": "TCP", "targetPort": 80}
    again = apply_patch(services, live, config, manager="m", force=False, now=NOW)
    assert again["spec"]["ports"] == live["spec"]["ports"]


def test_object_that_nobody_tracked_belongs_to_who_was_before() -> None:
    with pytest.raises(ApplyConflict) as refused:
        applied(deployment(replicas=1), deployment(replicas=2))
    assert refused.value.causes == (("before-first-apply", "apps/v1", ".spec.replicas"),)


def test_update_takes_changed_fields_and_forgets_removed_ones() -> None:
    live = applied(None, deployment(replicas=2, paused=True))
    new = copy.deepcopy(live)
    del new["spec"]["paused"]
    new["spec"]["replicas"] = 3
    entries = track_update(deployments(), live, new, manager="hand", now=NOW + 9)
    by = {item["manager"]: item for item in entries}
    assert by["hand"]["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    assert not {"f:paused", "f:replicas"} & set(by["kubectl"]["fieldsV1"]["f:spec"])
    assert track_update(deployments(), new, new, manager="x", now=NOW) == new["metadata"].get(
        "managedFields"
    )


def test_status_and_spec_are_tracked_apart() -> None:
    live = applied(None, deployment())
    new = {**live, "status": {"replicas": 1}}
    entries = track_update(
        deployments(), live, new, manager="controller", now=NOW, subresource="status"
    )
    mine = next(item for item in entries if item["manager"] == "controller")
    assert mine["subresource"] == "status"
    assert mine["fieldsV1"] == {"f:status": {"f:replicas": {}}}
    assert track_update(deployments(), live, new, manager="x", now=NOW) == owners_of(live)


def owners_of(obj: Any) -> Any:
    return obj["metadata"]["managedFields"]


def test_custom_resource_is_applied_by_whole_parts() -> None:
    carts = Resource("shop.io", "v1", "carts", "Cart", "cart", True)
    config = {"metadata": {"name": "c", "labels": {"a": "1"}}, "spec": {"items": [1, 2]}}
    live = apply_patch(carts, None, config, manager="m", force=False, now=NOW)
    config["spec"] = {"items": [3]}
    after = apply_patch(carts, live, config, manager="m", force=False, now=NOW)
    assert after["spec"] == {"items": [3]}


def test_sets_survive_their_written_form() -> None:
    fields = frozenset({("f:a",), ("f:a", "f:b"), ("f:c", 'k:{"n":1}'), ("f:d", "f:e", "v:1")})
    assert from_tree(to_tree(fields)) == fields
