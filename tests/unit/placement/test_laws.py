"""Laws of placement, over random fleets and asks, against a slow and obviously right check."""

from hypothesis import given, settings
from hypothesis import strategies as st

from proa.model.resources import Port, Resources
from proa.placement import engine
from proa.placement.asks import Ask, Placed, Row
from proa.placement.fleet import Fleet

rooms = st.builds(
    Resources, cpu=st.integers(1, 64), memory=st.integers(1, 64), sandboxes=st.integers(1, 6)
)
wishes = st.builds(
    Resources, cpu=st.integers(0, 20), memory=st.integers(0, 20), sandboxes=st.just(1)
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Row], list[tuple[str, Ask]]]:
    pools = draw(st.lists(rooms, min_size=1, max_size=3))
    rows = [
        Row(f"i{n}", f"i{n}", draw(st.sampled_from(["/k/", "/e/"])), f"p{n % len(pools)}", room)
        for n, room in enumerate(draw(st.lists(rooms, min_size=1, max_size=6)))
    ]
    steps = []
    for number in range(draw(st.integers(1, 25))):
        ask = Ask(
            str(number),
            str(number),
            draw(st.sampled_from(["/k/", "/e/"])),
            draw(wishes),
            ports=tuple(Port(p) for p in draw(st.sets(st.integers(1, 3), max_size=2))),
            fargate=draw(st.booleans()) and draw(st.booleans()),
        )
        steps.append((draw(st.sampled_from(["place", "place", "release"])), ask))
    return rows, steps


def room_of(rows: list[Row], pool: str) -> Resources:
    return max((row.allocatable for row in rows if row.pool == pool), key=lambda r: r.cpu)


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_placement_never_exceeds_rows_pools_or_ports_and_never_refuses_what_fits(world) -> None:  # type: ignore[no-untyped-def]
    rows, steps = world
    fleet = Fleet()
    totals = {row.pool: room_of(rows, row.pool) for row in rows}
    for pool, total in totals.items():
        fleet.set_pool(pool, total)
    for row in rows:
        fleet.set_row(row)
    held: dict[str, tuple[str, str, Ask]] = {}  # key → (instance, pool, ask)

    def used(match) -> Resources:  # type: ignore[no-untyped-def]
        total = Resources()
        for instance, pool, ask in held.values():
            if match(instance, pool):
                total = total.plus(ask.reserve)
        return total

    def fits(row: Row, ask: Ask) -> bool:
        on_row = row.allocatable.minus(used(lambda i, _p: i == row.id))
        on_pool = totals[row.pool].minus(used(lambda _i, p: p == row.pool))
        taken = {port for i, _p, a in held.values() if i == row.id for port in a.ports}
        wanted = ask.reserve
        pool_ok = (not wanted.cpu or wanted.cpu <= on_pool.cpu) and (
            not wanted.memory or wanted.memory <= on_pool.memory
        )
        return on_row.covers(wanted) and pool_ok and not taken & set(ask.ports)

    for step, ask in steps:
        if step == "release":
            if held:
                key = sorted(held)[0]
                del held[key]
                fleet.release(key)
            continue
        if ask.fargate:
            able = [
                pool
                for pool in totals
                if totals[pool].minus(used(lambda _i, p, pool=pool: p == pool)).cpu
                >= ask.reserve.cpu
                and totals[pool].minus(used(lambda _i, p, pool=pool: p == pool)).memory
                >= ask.reserve.memory
            ]
        else:
            able = [row.id for row in rows if row.cluster == ask.cluster and fits(row, ask)]
        (decision,) = engine.place(fleet, [ask])
        if isinstance(decision, Placed):
            assert (decision.pool if ask.fargate else decision.instance) in able
            held[ask.key] = (decision.instance, decision.pool, ask)
        else:
            assert not able
