"""A projection that was handed over is taken for its own body alone, and once."""

from __future__ import annotations

from proa.aws.ecs.records import ServiceEvent, put, stored
from proa.reconcile import told
from proa.reconcile.told import Told


def _counting() -> tuple[Told[str], list[bytes]]:
    decoded: list[bytes] = []

    def decode(body: bytes) -> str:
        decoded.append(body)
        return body.decode()

    return Told(decode), decoded


def test_what_was_told_is_not_decoded_and_the_rest_is() -> None:
    projection, decoded = _counting()
    projection.tell(b"one", "handed over")
    assert projection(b"one") == "handed over"
    assert projection(b"one") == "one"
    assert projection(b"two") == "two"
    assert decoded == [b"one", b"two"]


def test_a_body_that_only_begins_alike_is_decoded() -> None:
    projection, _ = _counting()
    begin = "x" * 200
    projection.tell(f"{begin} of one".encode(), "one")
    assert projection(f"{begin} of another".encode()) == f"{begin} of another"


def test_what_never_comes_to_be_decoded_is_forgotten() -> None:
    projection, decoded = _counting()
    for number in range(told.REMEMBERED + 1):
        projection.tell(b"%d" % number, "handed over")
    assert projection(b"0") == "0"
    assert decoded == [b"0"]


def test_a_written_record_of_ecs_is_the_one_that_views_hold() -> None:
    event = ServiceEvent(1, "id", 2.0, "(service web) has reached a steady state.")
    body = put("/key", event).body
    assert stored(ServiceEvent)(body) is event
    assert stored(ServiceEvent)(body) == event
