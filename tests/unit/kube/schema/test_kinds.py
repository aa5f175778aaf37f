"""Which kinds there are, how discovery shows them, and where their schemas are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proa.kube.schema import discovery
from proa.kube.schema.cache import SchemaCache
from proa.kube.schema.kinds import Resource, load_kinds, version_priority
from proa.kube.schema.openapi import OpenAPI
from tests.unit.kube.schema.world import deployments, kinds, pods, schemas

V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def test_cache_file_is_small_and_read_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "kube" / "1.36"
    made = SchemaCache.open(path)
    again = SchemaCache.open(path)
    assert path.stat().st_size < 1_000_000
    assert again.structure == made.structure
    assert again.documents() == made.documents()


@pytest.mark.parametrize("kept", [60, 200, -1000, -1])
def test_damaged_cache_file_is_made_anew(tmp_path: Path, kept: int) -> None:
    """What a crash of the host leaves of a file that was never flushed."""
    path = tmp_path / "damaged"
    made = SchemaCache.open(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    again = SchemaCache.open(path)
    assert again.documents() == made.documents()
    assert path.read_bytes() == whole


def test_cache_file_of_another_layout_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"proa-kube-schema 0 1.36 rubbish")
    assert "io.k8s.api.core.v1.Pod" in SchemaCache.open(path)


def test_merge_rules_survive_the_conversion() -> None:
    fields = schemas().definition("io.k8s.api.core.v1.PodSpec").fields
    assert fields["containers"].merge_key == "name"
    assert fields["containers"].list_keys == ("name",)
    assert fields["volumes"].strategies == ("merge", "retainKeys")
    assert fields["nodeSelector"].atomic
    assert schemas().definition("io.k8s.api.apps.v1.DeploymentSpec").fields["selector"].atomic


def test_resources_are_found_by_name_and_by_kind() -> None:
    found = kinds().find("apps", "v1", "deployments")
    assert found == kinds().by_kind("apps", "v1", "Deployment")
    assert found is not None
    assert found.short_names == ("deploy",)
    assert found.subresources == ("scale", "status")
    assert found.schema_ref == "io.k8s.api.apps.v1.Deployment"
    assert kinds().find("apps", "v1", "pods") is None


def test_every_resource_has_a_definition_and_a_storage_version() -> None:
    for resource in kinds().resources():
        assert resource.schema_ref in schemas()
        assert resource.storage_version in kinds().versions(resource.group)


def test_newer_and_more_stable_versions_are_preferred() -> None:
    given = ["v1beta1", "v1", "v2alpha1", "v10", "v2", "v1alpha3", "odd"]
    expected = ["v10", "v2", "v1", "v1beta1", "v2alpha1", "v1alpha3", "odd"]
    assert sorted(given, key=version_priority) == expected
    assert kinds().versions("autoscaling") == ["v2", "v1"]
    assert kinds().groups()[0] == ""


def test_custom_resources_join_the_others() -> None:
    custom = Resource("shop.io", "v1", "carts", "Cart", "cart", True)
    more = kinds().with_resources([custom])
    assert more.find("shop.io", "v1", "carts") is custom
    assert kinds().find("shop.io", "v1", "carts") is None
    assert discovery.resource_list(more, "shop.io", "v1") is not None


def test_pod_eviction_is_listed_with_its_own_group_and_version() -> None:
    document = discovery.resource_list(kinds(), "", "v1")
    assert document is not None
    rows = {row["name"]: row for row in document["resources"]}
    eviction = rows["pods/eviction"]
    assert (eviction["group"], eviction["version"], eviction["kind"]) == (
        "policy",
        "v1",
        "Eviction",
    )
    assert rows["pods"]["shortNames"] == ["po"]
    assert rows["pods/log"]["verbs"] == ["get"]
    assert "group" not in rows["pods/status"]


def test_aggregated_discovery_is_offered_only_to_who_asks_for_it() -> None:
    beta = V2.replace("v=v2", "v=v2beta1")
    assert discovery.aggregated_type(f"{V2},{beta},application/json") == V2
    assert discovery.aggregated_type(f"{beta},application/json") == beta
    assert discovery.aggregated_type("application/json") == ""
    assert discovery.aggregated_type("*/*") == ""


def test_aggregated_discovery_keeps_core_and_groups_apart() -> None:
    core: dict[str, Any] = json.loads(discovery.aggregated(kinds(), V2, core=True))
    groups: dict[str, Any] = json.loads(discovery.aggregated(kinds(), V2))
    assert core["apiVersion"] == "apidiscovery.k8s.io/v2"
    assert len(core["items"]) == 1
    named = [item["metadata"]["name"] for item in groups["items"]]
    assert named == [group["name"] for group in discovery.api_groups(kinds())["groups"]]
    apps = next(item for item in groups["items"] if item["metadata"]["name"] == "apps")
    deployment = next(
        row for row in apps["versions"][0]["resources"] if row["resource"] == "deployments"
    )
    assert deployment["scope"] == "Namespaced"
    scale = next(row for row in deployment["subresources"] if row["subresource"] == "scale")
    assert scale["responseKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}


def test_unknown_groups_have_no_documents() -> None:
    assert discovery.api_group(kinds(), "nothing") is None
    assert discovery.resource_list(kinds(), "apps", "v9") is None
    assert OpenAPI(kinds(), schemas()).group_version("apis/apps/v9") is None


def references(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(references, value))
    if not isinstance(value, dict):
        return set()
    found = set().union(*map(references, value.values()))
    if isinstance(value.get("$ref"), str):
        found.add(value["$ref"].rsplit("/", 1)[-1])
    return found


def test_openapi_documents_contain_all_that_they_refer_to() -> None:
    openapi = OpenAPI(kinds(), schemas())
    for path in json.loads(openapi.index())["paths"]:
        document = json.loads(openapi.group_version(path) or b"")
        assert references(document) <= set(document["components"]["schemas"])
        assert openapi.group_version(path) == openapi.group_version(path)
    older = json.loads(openapi.v2())
    assert references(older) <= set(older["definitions"])


def test_openapi_patch_operations_offer_server_side_validation() -> None:
    openapi = OpenAPI(kinds(), schemas())
    document = json.loads(openapi.group_version("apis/apps/v1") or b"")
    path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    patch = document["paths"][path]["patch"]
    assert {"fieldValidation", "dryRun"} <= {item["name"] for item in patch["parameters"]}
    assert patch["x-kubernetes-group-version-kind"]["kind"] == "Deployment"
    assert "delete" in document["paths"][path]
    assert "/apis/apps/v1/deployments" in document["paths"]


def test_openapi_hash_changes_with_the_resources() -> None:
    before = OpenAPI(kinds(), schemas())
    custom = Resource("apps", "v1", "carts", "Cart", "cart", True)
    after = OpenAPI(kinds().with_resources([custom]), schemas())
    assert before.hash("apis/apps/v1") != after.hash("apis/apps/v1")
    assert before.hash("api/v1") == after.hash("api/v1")


def test_kinds_of_two_caches_are_equal() -> None:
    assert load_kinds(SchemaCache.open(None)).resources() == kinds().resources()
    assert deployments().group_resource == "deployments.apps"
    assert pods().api_version == "v1"
