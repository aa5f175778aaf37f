"""Pods become asks and Nodes rows: what kube-scheduler's plugins read of either."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from proa.cloud import compute
from proa.kube.asks import ask_of, row_of
from proa.kube.decoding import decoder
from proa.kube.keys import object_key
from proa.kube.objects import Node, Pod
from proa.kube.tables import TABLES
from proa.kube.unschedulable import message_of
from proa.model.host import Instance
from proa.placement.asks import Ask, PodTerm, Reason, Requirement, Spread, Unplaced
from proa.reconcile.view import Entry, View
from proa.store.api import Batch, Event, Record
from tests.unit.kube.world import CLUSTER, Json, MemoryStore

MIB = 1024 * 1024
ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
KEY = f"/kube/{CLUSTER}/core/pods/default/p"


def view_of(services: dict[str, dict[str, str]] | None = None) -> View:
    """A view of Services with their selectors."""
    view = View(MemoryStore(), (*TABLES, compute.INSTANCES))
    for number, (name, selector) in enumerate((services or {}).items(), 1):
        meta = {"name": name, "namespace": "default", "uid": name}
        body = json.dumps({"metadata": meta, "spec": {"selector": selector}}).encode()
        key = object_key(CLUSTER, "", "services", "default", name)
        record = Record(key, body, number, number)
        view.take(Batch((Event("put", record, None),), number))
    return view


def ask(spec: Json, labels: dict[str, str] | None = None, view: View | None = None) -> Ask:
    meta: Json = {"name": "p", "namespace": "default", "uid": "u", "labels": labels or {"app": "a"}}
    containers = [{"name": "c", "image": "web"}]
    body = {"metadata": meta, "spec": {"containers": containers, **spec}}
    data = json.dumps(body).encode()
    entry = Entry(KEY, data, 1, 1, decoder(Pod)(data))
    return ask_of(view or view_of(), entry)


def term(**fields: Any) -> Json:
    return {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": "db"}}, **fields}


def affinity(kind: str, *required: Json, preferred: Json | None = None) -> Json:
    part: Json = {"requiredDuringSchedulingIgnoredDuringExecution": list(required)}
    if preferred:
        part["preferredDuringSchedulingIgnoredDuringExecution"] = [preferred]
    return {"affinity": {kind: part}}


DB = Requirement("app", "In", ("db",))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (term(), PodTerm(ZONE, (DB,), ("default",))),
        (term(namespaces=["b", "a"]), PodTerm(ZONE, (DB,), ("a", "b"))),
        (term(namespaceSelector={}), PodTerm(ZONE, (DB,), (), ())),
        (
            term(namespaces=["a"], namespaceSelector={"matchLabels": {"team": "x"}}),
            PodTerm(ZONE, (DB,), ("a",), (Requirement("team", "In", ("x",)),)),
        ),
        (
            {"topologyKey": HOSTNAME},
            PodTerm(HOSTNAME, None, ("default",)),
        ),
        (
            term(matchLabelKeys=["version", "absent"], mismatchLabelKeys=["tenant"]),
            PodTerm(
                ZONE,
                (DB, Requirement("version", "In", ("2",)), Requirement("tenant", "NotIn", ("t",))),
                ("default",),
            ),
        ),
    ],
)
def test_pod_affinity_terms_keep_their_namespaces_and_the_keys_of_their_own_pod(
    given: Json, expected: PodTerm
) -> None:
    labels = {"app": "a", "version": "2", "tenant": "t"}
    assert ask(affinity("podAffinity", given), labels).pod_affinity == (expected,)
    assert ask(affinity("podAntiAffinity", given), labels).pod_anti_affinity == (expected,)


def test_preferred_anti_affinity_weighs_against() -> None:
    wish = {"weight": 7, "podAffinityTerm": term()}
    meant = PodTerm(ZONE, (DB,), ("default",))
    assert ask(affinity("podAffinity", preferred=wish)).pod_preferred == ((7, meant),)
    assert ask(affinity("podAntiAffinity", preferred=wish)).pod_preferred == ((-7, meant),)


def test_spread_constraints_carry_policies_domains_and_label_keys() -> None:
    constraint = {
        "topologyKey": ZONE,
        "maxSkew": 2,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "a"}},
        "minDomains": 3,
        "matchLabelKeys": ["pod-template-hash"],
        "nodeAffinityPolicy": "Ignore",
        "nodeTaintsPolicy": "Honor",
    }
    labels = {"app": "a", "pod-template-hash": "77"}
    made = ask({"topologySpreadConstraints": [constraint]}, labels)
    selector = (Requirement("app", "In", ("a",)), Requirement("pod-template-hash", "In", ("77",)))
    assert made.spreads == (Spread(ZONE, 2, True, selector, 3, False, True),)
    assert not made.spreads_default
    bare = {"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
    assert ask({"topologySpreadConstraints": [bare]}).spreads == (Spread(ZONE, 1, False, None),)


def test_pods_of_a_service_are_spread_by_default() -> None:
    assert ask({}).spreads == ()
    services = {"web": {"app": "a"}, "other": {"app": "z"}}
    made = ask({}, {"app": "a", "tier": "x"}, view_of(services))
    selected = (Requirement("app", "In", ("a",)),)
    assert made.spreads == (
        Spread(HOSTNAME, 3, False, selected),
        Spread(ZONE, 5, False, selected),
    )
    assert made.spreads_default


def container(**requests: str) -> Json:
    names = {name.replace("gpu", "nvidia.com/gpu"): amount for name, amount in requests.items()}
    return {"name": "c", "image": "web", "resources": {"requests": names}}


def test_extended_resources_add_up_as_init_containers_and_sidecars_do() -> None:
    init = [
        {**container(gpu="1"), "restartPolicy": "Always"},
        container(gpu="4"),
    ]
    made = ask({"containers": [container(gpu="1"), container(gpu="2")], "initContainers": init})
    assert made.extended == (("nvidia.com/gpu", 5),)
    limited = {"resources": {"limits": {"nvidia.com/gpu": "2"}}, "name": "c", "image": "web"}
    assert ask({"containers": [limited]}).extended == (("nvidia.com/gpu", 2),)
    assert ask({}).extended == ()


def test_scores_count_a_default_for_each_container_that_requests_nothing() -> None:
    assert ask({"containers": [container(cpu="1", memory="1Gi")]}).scored is None
    two = [container(cpu="1", memory="1Gi"), container(cpu="500m")]
    assert ask({"containers": two}).scored == (128 * 1500, (1024 + 200) * MIB)
    whole = {"containers": two, "resources": {"requests": {"memory": "2Gi"}}}
    assert ask(whole).scored == (128 * 1500, 2048 * MIB)
    assert ask({"containers": two, "overhead": {"cpu": "100m"}}).scored == (
        128 * 1600,
        (1024 + 200) * MIB,
    )


def test_images_are_named_with_their_tags() -> None:
    spec = {
        "initContainers": [{"name": "i", "image": "localhost:5000/init"}],
        "containers": [{"name": "c", "image": "web:1"}],
    }
    assert ask(spec).images == ("localhost:5000/init:latest", "web:1")


def test_rows_offer_what_nodes_advertise_and_name_their_images() -> None:
    body = {
        "metadata": {"name": "n"},
        "status": {
            "capacity": {"cpu": "4", "example.com/dongle": "3", "nvidia.com/gpu": "4"},
            "allocatable": {"cpu": "4", "nvidia.com/gpu": "2", "hugepages-2Mi": "4Mi"},
            "images": [{"names": ["web:1", "web@sha256:0"], "sizeBytes": 5}],
        },
    }
    node = decoder(Node)(json.dumps(body).encode())
    row = row_of(Instance("i", "", "/kube/c/", "h"), node)
    assert row.extended == (
        ("example.com/dongle", 3),
        ("hugepages-2Mi", 4 * MIB),
        ("nvidia.com/gpu", 2),
    )
    assert row.images == (("web:1", 5), ("web@sha256:0", 5))


@pytest.mark.parametrize(
    ("reason", "text", "helps"),
    [
        (Reason("pod-affinity", 1), "node(s) didn't match pod affinity rules", False),
        (Reason("pod-anti-affinity", 1), "node(s) didn't match pod anti-affinity rules", True),
        (
            Reason("existing-anti-affinity", 1),
            "node(s) didn't satisfy existing pods anti-affinity rules",
            True,
        ),
        (Reason("spread", 1), "node(s) didn't match pod topology spread constraints", True),
        (
            Reason("spread-label", 1),
            "node(s) didn't match pod topology spread constraints (missing required label)",
            False,
        ),
        (Reason("names", 1), "node(s) didn't satisfy plugin(s) [NodeAffinity]", False),
        (Reason("extended", 1, "nvidia.com/gpu"), "Insufficient nvidia.com/gpu", True),
    ],
)
def test_refusals_say_upstreams_words_for_every_reason(
    reason: Reason, text: str, helps: bool
) -> None:
    unplaced = Unplaced(ask({"containers": [container(gpu="1")]}), 1, (reason,))
    hint = "No preemption victims found for incoming pod"
    if not helps:
        hint = "Preemption is not helpful for scheduling"
    assert message_of(view_of(), unplaced) == (
        f"0/1 nodes are available: 1 {text}. preemption: 0/1 nodes are available: 1 {hint}."
    )


def test_pods_of_one_template_ask_alike_wherever_one_of_them_is_bound() -> None:
    view, body = view_of(), {"metadata": {"name": "p", "uid": "u", "labels": {"app": "a"}}}
    data = json.dumps({**body, "spec": {"containers": [{"name": "c", "image": "web"}]}}).encode()
    first = Entry(KEY, data, 1, 1, decoder(Pod)(data))
    asked, pod = ask_of(view, first), first.value
    bound = replace(pod, spec=replace(pod.spec, node_name="n1"))
    assert ask_of(view, replace(first, key=f"{KEY}2", value=bound)) == replace(asked, key=f"{KEY}2")
    alone = replace(bound, spec=replace(bound.spec, priority=7))
    assert ask_of(view, replace(first, value=alone)) == replace(asked, priority=7)
    labelled = replace(bound, metadata=replace(pod.metadata, labels={"app": "b"}))
    assert ask_of(view, replace(first, value=labelled)).labels == (("app", "b"),)
