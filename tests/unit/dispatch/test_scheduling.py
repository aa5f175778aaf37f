"""The scheduler binds in batches and keeps its promises: nothing twice, nothing over the brim, and
what found no room is tried again when there may be some, without trying everybody."""

from __future__ import annotations

from proa.cloud import compute
from proa.model.host import Instance
from proa.model.resources import Resources
from proa.store.api import Delete, Guard, Put, Transaction
from tests.unit.dispatch.bow import CLUSTER, Bow, Job, encode, play


def key(number: int) -> str:
    return f"/jobs/{number:04}"


async def queue(bow: Bow, count: int, cpu: int = 1, first: int = 0) -> None:
    """Jobs that wait, while the scheduler is held."""
    for number in range(first, first + count):
        await bow.put(key(number), Job(cpu))


def test_many_are_bound_by_few_transactions_and_none_twice() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 300)
        await bow.host("b", 300)
        bow.scheduler.hold()
        await queue(bow, 500)
        before = bow.view.version >> 8
        bow.scheduler.release()
        await bow.clock.sleep(1)
        assert sorted(bow.skin.bound) == [key(number) for number in range(500)]
        assert all(bow.places().values())
        assert (bow.view.version >> 8) - before < 30

    play(scene)


def test_no_more_than_fits_is_bound() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 7)
        bow.scheduler.hold()
        await queue(bow, 20)
        bow.scheduler.release()
        await bow.clock.sleep(1)
        assert sum(bool(place) for place in bow.places().values()) == 7
        assert bow.scheduler.waiting == 13

    play(scene)


def test_a_batch_that_meets_a_conflict_is_split_and_only_the_changed_is_decided_again() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 100)
        bow.scheduler.hold()
        await queue(bow, 10)
        committed = bow.store.commit

        async def late(transaction: Transaction) -> object:
            """Somebody else writes one of the batch first, once."""
            bow.store.commit = committed  # type: ignore[method-assign]
            await committed(Transaction(writes=(Put(key(3), encode(Job(2))),)))
            return await committed(transaction)

        bow.store.commit = late  # type: ignore[method-assign, assignment]
        bow.scheduler.release()
        await bow.clock.sleep(1)
        assert all(bow.places().values())
        assert [item for item in bow.skin.bound if item == key(3)] == [key(3)] * 2
        assert len(bow.skin.bound) == 11
        assert bow.scheduler.fleet.bookings[key(3)].claim.ask.reserve.cpu == 2

    play(scene)


def test_nothing_is_bound_to_an_instance_that_goes_before_the_commit() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 100)
        committed = bow.store.commit

        async def late(transaction: Transaction) -> object:
            bow.store.commit = committed  # type: ignore[method-assign]
            await committed(Transaction(writes=(Delete(compute.instance_key("a")),)))
            return await committed(transaction)

        bow.scheduler.hold()
        await queue(bow, 3)
        bow.store.commit = late  # type: ignore[method-assign, assignment]
        bow.scheduler.release()
        await bow.clock.sleep(1)
        assert not any(bow.places().values())
        assert bow.scheduler.waiting == 3
        await bow.host("b", 100)
        await bow.clock.sleep(1)
        assert set(bow.places().values()) == {"b"}

    play(scene)


def test_what_was_bound_past_the_scheduler_holds_its_room() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 10)
        await bow.put(key(0), Job(8, "a"))
        await bow.put(key(1), Job(5))
        await bow.clock.sleep(1)
        assert bow.places()[key(1)] == ""
        await bow.write(Delete(key(0)))
        await bow.clock.sleep(1)
        assert bow.places()[key(1)] == "a"

    play(scene)


def test_room_that_grows_is_given_to_as_many_of_a_kind_as_it_holds() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 1)
        await queue(bow, 100)
        await bow.clock.sleep(1)
        assert bow.scheduler.waiting == 99
        await bow.host("b", 60)
        await bow.clock.sleep(1)
        assert bow.scheduler.waiting == 39

    play(scene)


def test_room_in_a_pool_grows_for_every_instance_that_draws_on_it() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 10)
        small = Instance("other", "a", CLUSTER, capacity=Resources(5, 1 << 40, 1 << 40, 9))
        await bow.write(compute.put_instance(small))
        await bow.put(key(0), Job(5, "other"))
        await bow.put(key(1), Job(6))  # too much for the other, and for what it leaves of the Pool
        await bow.clock.sleep(1)
        assert bow.scheduler.waiting == 1
        await bow.write(Delete(key(0)))
        await bow.clock.sleep(1)
        assert bow.places() == {key(1): "a"}

    play(scene)


def test_room_that_helps_nobody_wakes_nobody() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 10)
        await bow.put(key(0), Job(1, "a"))
        await queue(bow, 200, cpu=50, first=1)
        await bow.clock.sleep(1)
        tried: list[int] = []
        taken = bow.scheduler._backlog.take
        bow.scheduler._backlog.take = lambda count: tried.append(0) or taken(count)  # type: ignore[func-returns-value, method-assign]
        await bow.write(Delete(key(0)))
        await bow.clock.sleep(1)
        assert not tried
        assert bow.scheduler.waiting == 200

    play(scene)


def test_the_first_of_a_kind_that_goes_leaves_its_turn_to_the_next() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 1)
        await queue(bow, 3)
        await bow.clock.sleep(1)
        waiting = [item for item, place in bow.places().items() if not place]
        bow.scheduler.hold()
        await bow.host("b", 1)
        await bow.clock.sleep(1)
        await bow.write(Delete(waiting[0]))
        bow.scheduler.release()
        await bow.clock.sleep(1)
        assert bow.places()[waiting[1]] == "b"

    play(scene)


def test_higher_priority_goes_first_and_age_decides_among_equals() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 100)
        bow.scheduler.hold()
        await bow.put(key(5), Job(1))
        await bow.put(key(1), Job(1))
        await bow.put(key(9), Job(1, priority=7))
        bow.scheduler.release()
        await bow.clock.sleep(1)
        assert bow.skin.bound == [key(9), key(5), key(1)]

    play(scene)


def test_every_refused_is_told_why_once() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 1)
        await queue(bow, 50, cpu=9)
        await bow.clock.sleep(1)
        assert sorted(bow.skin.refused) == [key(number) for number in range(50)]

    play(scene)


def test_a_sandbox_whose_bind_is_a_bug_holds_up_no_other() -> None:
    async def scene(bow: Bow) -> None:
        def broken(item: str) -> None:
            if item == key(1):
                raise ZeroDivisionError

        bow.skin.before_bind = broken
        await bow.host("a", 100)
        await queue(bow, 3)
        await bow.clock.sleep(1)
        assert bow.places() == {key(0): "a", key(1): "", key(2): "a"}

    play(scene)


def test_a_guard_that_somebody_else_breaks_is_never_overwritten() -> None:
    async def scene(bow: Bow) -> None:
        await bow.host("a", 100)
        bow.scheduler.hold()
        await queue(bow, 1)
        entry = await bow.store.get(key(0))
        assert entry is not None
        bow.scheduler.release()
        other = Put(key(0), encode(Job(1, "elsewhere")))
        await bow.store.commit(Transaction((Guard(key(0), entry.version),), (other,)))
        await bow.clock.sleep(1)
        assert bow.places()[key(0)] == "elsewhere"

    play(scene)
