"""Chance repeats itself for a seed, and only for that seed."""

import os
import uuid

from proa.base.chance import Chance


def draws(chance: Chance) -> list[object]:
    return [chance.random(), chance.uid(), chance.hex(17), chance.suffix(), chance.token(8)]


def test_chance_repeats_for_a_seed() -> None:
    assert draws(Chance("a")) == draws(Chance("a"))
    assert draws(Chance("a")) != draws(Chance("b"))


def test_chance_children_are_independent_of_their_siblings_draws() -> None:
    one, other = Chance("a"), Chance("a")
    one.child("x").random()
    one.random()
    assert draws(one.child("y")) == draws(other.child("y"))


def test_unseeded_chance_draws_from_the_system() -> None:
    assert draws(Chance()) != draws(Chance())


def test_uid_is_a_version_4_uuid() -> None:
    assert uuid.UUID(Chance("a").uid()).version == 4


def test_unseeded_uids_never_come_again() -> None:
    uids = [Chance().uid() for _ in range(1000)]
    assert len(set(uids)) == len(uids)
    assert all(uuid.UUID(uid).version == 4 for uid in uids)


def test_a_forked_child_draws_uids_of_its_own() -> None:
    Chance().uid()  # there are others where it came from
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, "".join(Chance().uid() for _ in range(80)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 80 * 36).decode()
    os.close(reader)
    os.close(writer)
    assert len(theirs) == 80 * 36
    assert not any(Chance().uid() in theirs for _ in range(80))
