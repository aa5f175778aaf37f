"""Placement decides by the originals' rules; one fleet, asks in, decisions out."""

from dataclasses import replace

import msgspec

from proa.base.quantity import bytes_of, cpu_of
from proa.model.resources import Port, Resources
from proa.placement import engine
from proa.placement.asks import (
    Ask,
    Placed,
    Requirement,
    Row,
    Spread,
    Strategy,
    Taint,
    Term,
    Toleration,
    Unplaced,
)
from proa.placement.fleet import Fleet

CLUSTER = "/kube/c/"
ZONE = "topology.kubernetes.io/zone"


def resources(cpu: str, memory: str, sandboxes: int = 1) -> Resources:
    return Resources(cpu_of(cpu), bytes_of(memory), 0, sandboxes)


def row(name: str, zone: str = "a", cpu: str = "4", **fields: object) -> Row:
    made = Row(
        id=name,
        name=name,
        cluster=CLUSTER,
        pool=name,
        allocatable=resources(cpu, "8Gi", 110),
        labels=((ZONE, zone), ("kubernetes.io/hostname", name)),
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def fleet(*rows: Row) -> Fleet:
    made = Fleet()
    for item in rows:
        made.set_pool(item.pool, item.allocatable)
        made.set_row(item)
    return made


def ask(uid: str, cpu: str = "1", **fields: object) -> Ask:
    made = Ask(uid, uid, CLUSTER, resources(cpu, "1Gi"), namespace="n", labels=(("app", "web"),))
    return msgspec.structs.replace(made, **fields)  # type: ignore[arg-type]


def where(made: Fleet, *asks: Ask) -> list[str | list[tuple[str, int]]]:
    answers: list[str | list[tuple[str, int]]] = []
    for decision in engine.place(made, asks):
        if isinstance(decision, Placed):
            answers.append(decision.instance)
        else:
            answers.append([(reason.code, reason.count) for reason in decision.reasons])
    return answers


def test_ask_goes_where_there_is_room_and_says_what_is_short() -> None:
    made = fleet(row("one", cpu="1"), row("two", cpu="2"))
    assert where(made, ask("a", "2"), ask("b", "2"), ask("c", "1"), ask("d", "1")) == [
        "two",
        [("cpu", 2)],
        "one",
        [("cpu", 2)],
    ]


def test_every_short_amount_is_reported() -> None:
    made = fleet(row("one", cpu="1"))
    big = msgspec.structs.replace(ask("a"), reserve=resources("2", "64Gi"))
    assert where(made, big) == [[("cpu", 1), ("memory", 1)]]


def test_shared_rows_of_one_pool_never_hold_more_than_the_pool() -> None:
    made = fleet(row("kube", pool="host"), row("ecs", pool="host", cluster="/aws/e"))
    other = msgspec.structs.replace(ask("b", "3"), cluster="/aws/e")
    assert where(made, ask("a", "3"), other, ask("c", "1")) == ["kube", [("cpu", 1)], "kube"]


def test_fargate_ask_is_put_on_a_pool_without_a_row() -> None:
    made = fleet(row("kube", pool="host"))
    decisions = engine.place(made, [ask("f", "3", fargate=True), ask("g", "2", fargate=True)])
    assert isinstance(decisions[0], Placed) and decisions[0].pool == "host"
    assert isinstance(decisions[1], Unplaced)
    assert where(made, ask("a", "2")) == [[("cpu", 1)]]
    made.release("f")
    assert where(made, ask("a", "2")) == ["kube"]


def test_taints_cordons_and_readiness_keep_asks_away() -> None:
    taint = Taint("dedicated", "gpu", "NoSchedule")
    made = fleet(
        row("tainted", taints=(taint,)),
        row("cordoned", schedulable=False),
        row("silent", ready=False),
    )
    assert where(made, ask("a")) == [[("cordoned", 1), ("notready", 1), ("taint", 1)]]
    tolerant = ask("b", tolerations=(Toleration("dedicated", "Equal", "gpu"),))
    assert where(made, tolerant) == ["tainted"]


def test_soft_taints_only_lower_the_score() -> None:
    made = fleet(row("soft", taints=(Taint("x", "", "PreferNoSchedule"),)), row("clean"))
    assert where(made, ask("a")) == ["clean"]


def test_node_selector_and_affinity_terms_filter() -> None:
    made = fleet(row("one", "a"), row("two", "b"), row("three", "c"))
    assert where(made, ask("a", node_selector=((ZONE, "b"),))) == ["two"]
    either = (
        Term((Requirement(ZONE, "In", ("c",)),)),
        Term((Requirement("missing", "Exists"),)),
    )
    assert where(made, ask("b", affinity=either)) == ["three"]
    neither = (Term((Requirement(ZONE, "NotIn", ("a", "b", "c")),)),)
    assert where(made, ask("c", affinity=neither)) == [[("selector", 3)]]
    assert where(made, ask("d", affinity=(Term(names=("two",)),))) == ["two"]


def test_ports_are_exclusive_on_a_row() -> None:
    made = fleet(row("one"), row("two"))
    port = (Port(8080),)
    placed = where(made, ask("a", ports=port), ask("b", ports=port), ask("c", ports=port))
    assert sorted(map(str, placed[:2])) == ["one", "two"]
    assert placed[2] == [("ports", 2)]


def test_hard_spread_keeps_the_skew_between_zones() -> None:
    made = fleet(row("a1", "a"), row("a2", "a"), row("b1", "b"))
    rule = Spread(ZONE, 1, True, (Requirement("app", "In", ("web",)),))
    asks = [ask(str(number), "100m", spreads=(rule,)) for number in range(6)]
    placed = where(made, *asks)
    zones = ["b" if name == "b1" else "a" for name in placed]
    for number in range(1, 7):
        assert abs(zones[:number].count("a") - zones[:number].count("b")) <= 1


def test_hard_spread_over_one_domain_takes_everything() -> None:
    made = fleet(row("only"))
    rule = Spread(ZONE, 1, True, (Requirement("app", "In", ("web",)),))
    assert where(made, *[ask(str(n), "100m", spreads=(rule,)) for n in range(3)]) == ["only"] * 3


def test_hard_spread_rejects_rows_without_the_label() -> None:
    made = fleet(row("bare", labels=()))
    rule = Spread(ZONE, 1, True, (Requirement("app", "In", ("web",)),))
    assert where(made, ask("a", spreads=(rule,))) == [[("spread-label", 1)]]


def test_least_allocated_prefers_the_emptier_row() -> None:
    made = fleet(row("busy"), row("idle"))
    assert where(made, ask("x", "2", node_selector=(("kubernetes.io/hostname", "busy"),)))
    assert where(made, ask("a")) == ["idle"]


def test_ecs_binpack_fills_one_row_before_the_next() -> None:
    made = fleet(row("one"), row("two"))
    asks = [ask(str(n), strategies=(Strategy("binpack", "cpu"),)) for n in range(4)]
    assert len(set(map(str, where(made, *asks)))) == 1


def test_ecs_spread_by_zone_then_binpack_within_it() -> None:
    made = fleet(row("a1", "a"), row("a2", "a"), row("b1", "b"))
    rules = (Strategy("spread", ZONE), Strategy("binpack", "memory"))
    placed = where(made, *[ask(str(n), group="g", strategies=rules) for n in range(4)])
    assert placed.count("b1") == 2
    assert len({name for name in placed if name != "b1"}) == 1


def test_distinct_instance_never_doubles_up() -> None:
    made = fleet(row("one"), row("two"))
    asks = [ask(str(n), group="g", distinct=True) for n in range(3)]
    placed = where(made, *asks)
    assert sorted(map(str, placed[:2])) == ["one", "two"] and placed[2] == [("distinct", 2)]


def test_pinned_ask_goes_to_its_instance_or_nowhere() -> None:
    made = fleet(row("one"), row("two"))
    assert where(made, ask("a", pinned="two"), ask("b", pinned="gone")) == ["two", []]


def test_choice_among_equals_is_replayed_by_uid() -> None:
    names = [f"n{number}" for number in range(20)]
    first = where(fleet(*map(row, names)), ask("same"))
    assert first == where(fleet(*map(row, names)), ask("same"))
    assert {str(where(fleet(*map(row, names)), ask(f"u{n}"))) for n in range(20)} != {str(first)}


def test_removed_row_gives_its_number_and_room_away() -> None:
    made = fleet(row("one"))
    assert where(made, ask("a", "4")) == ["one"]
    made.remove_row("one")
    made.set_row(row("new"))
    assert where(made, ask("b", "4")) == ["new"]
    assert set(made.bookings) == {"b"}


def test_every_operator_of_node_affinity_selects_as_the_api_says() -> None:
    def labelled(name: str, *labels: tuple[str, str]) -> Row:
        return row(name, labels=labels)

    def taking(requirement: Requirement) -> list[str]:
        made = fleet(
            labelled("old", ("cores", "4"), ("disk", "hdd")),
            labelled("new", ("cores", "16"), ("disk", "ssd")),
            labelled("bare"),
            labelled("odd", ("cores", "many")),
        )
        asks = [ask(f"u{n}", "3", affinity=(Term((requirement,)),)) for n in range(5)]
        return sorted(answer for answer in where(made, *asks) if isinstance(answer, str))

    assert taking(Requirement("disk", "In", ("ssd", "nvme"))) == ["new"]
    assert taking(Requirement("disk", "NotIn", ("ssd",))) == ["bare", "odd", "old"]
    assert taking(Requirement("disk", "Exists")) == ["new", "old"]
    assert taking(Requirement("disk", "DoesNotExist")) == ["bare", "odd"]
    assert taking(Requirement("cores", "Gt", ("8",))) == ["new"]
    assert taking(Requirement("cores", "Lt", ("8",))) == ["old"]
    assert taking(Requirement("cores", "Gt", ("x",))) == []


def test_an_ask_may_shun_rows_by_name_and_an_empty_term_matches_none() -> None:
    made = fleet(row("one"), row("two"))
    assert where(made, ask("a", affinity=(Term(not_names=("one",)),))) == ["two"]
    assert where(made, ask("b", affinity=(Term(),))) == [[("selector", 2)]]


def test_preferred_terms_add_their_weights() -> None:
    made = fleet(row("one", "a"), row("two", "b"))
    wanted = (
        (10, Term((Requirement(ZONE, "In", ("a",)),))),
        (60, Term((Requirement(ZONE, "In", ("b",)),))),
    )
    assert where(made, *(ask(f"u{n}", "100m", preferred=wanted) for n in range(3))) == ["two"] * 3
