"""Chance repeats itself for a seed, and only for that seed."""

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
