"""Explanations agree with decisions: an Instance that lacks nothing would be given the ask."""

from hypothesis import given, settings
from hypothesis import strategies as st

from proa.model.resources import Port, Resources
from proa.placement import engine
from proa.placement.asks import Ask, Placed, Requirement, Row, Taint, Term, Toleration
from proa.placement.explain import explain
from proa.placement.fleet import Fleet

CLUSTER = "/kube/a/"
labels = st.lists(st.sampled_from([("disk", "ssd"), ("disk", "hdd"), ("zone", "a")]), max_size=2)
taints = st.lists(
    st.builds(Taint, st.sampled_from("xy"), st.just("1"), st.just("NoSchedule")), max_size=1
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Fleet, Ask]:
    fleet = Fleet()
    fleet.set_pool("p", Resources(draw(st.integers(1, 20)), draw(st.integers(1, 20))))
    for n in range(draw(st.integers(1, 4))):
        room = Resources(draw(st.integers(1, 10)), draw(st.integers(1, 10)), sandboxes=3)
        row = Row(
            f"i{n}",
            f"n{n}",
            CLUSTER,
            "p",
            room,
            tuple(dict(draw(labels)).items()),
            tuple(draw(taints)),
            draw(st.booleans()),
            draw(st.booleans()),
        )
        fleet.set_row(row)
    for n in range(draw(st.integers(0, 3))):
        engine.place(fleet, [Ask(f"h{n}", f"h{n}", CLUSTER, Resources(2, 2, sandboxes=1))])
    return fleet, Ask(
        "u",
        "k",
        CLUSTER,
        Resources(draw(st.integers(0, 8)), draw(st.integers(0, 8)), sandboxes=1),
        ports=tuple(Port(80) for _ in range(draw(st.integers(0, 1)))),
        node_selector=tuple(dict(draw(labels)).items()),
        affinity=draw(
            st.sampled_from([None, (Term((Requirement("disk", "In", ("ssd",)),)),), (Term(),)])
        ),
        tolerations=draw(st.sampled_from([(), (Toleration(operator="Exists"),)])),
        pinned=draw(st.sampled_from(["", "i0", "i9"])),
        fargate=draw(st.booleans()),
    )


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_an_instance_lacks_nothing_exactly_when_the_engine_would_choose_among_it(world) -> None:  # type: ignore[no-untyped-def]
    fleet, ask = world
    willing = {answer.instance for answer in explain(fleet, ask) if not answer.lacks}
    (decision,) = engine.place(fleet, [ask])
    assert isinstance(decision, Placed) == bool(willing)
    if isinstance(decision, Placed):
        assert decision.instance in willing


def test_explain_gives_the_figures_of_a_short_amount() -> None:
    fleet = Fleet()
    fleet.set_pool("p", Resources(cpu=10, memory=100))
    fleet.set_row(Row("i0", "n0", CLUSTER, "p", Resources(cpu=8, memory=200, sandboxes=9)))
    engine.place(fleet, [Ask("a", "a", CLUSTER, Resources(cpu=3, memory=60, sandboxes=1))])
    (answer,) = explain(fleet, Ask("b", "b", CLUSTER, Resources(cpu=6, memory=50, sandboxes=1)))
    said = {lack.code: (lack.wanted, lack.left, lack.total) for lack in answer.lacks}
    assert said == {"cpu": (6, 5, 8), "pool-memory": (50, 40, 100)}
