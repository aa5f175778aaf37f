"""Bodies by their parts, and projections that are known before a body is decoded."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proa.kube.decoding import HandedOver, decoder, handed_over, parted
from proa.kube.objects import Deployment, Pod, PodStatus

STATUS = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def stored(**more: Any) -> bytes:
    meta = {"name": "a", "labels": {"note": 'quoted ,"status":{'}}
    return orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}, **more})


@pytest.mark.parametrize(
    "body",
    [
        stored(status=STATUS),
        stored(status={}),
        stored(status={"deeper": {"x": 1, "status": {"phase": "Failed"}}, **STATUS}),
        stored(status={**STATUS, "deeper": {"x": 1, "status": {"phase": "Failed"}}}),
        stored(status={"message": 'ends in ,"status":{"phase":"Failed"}'}),
        stored(status=STATUS, more={"x": 1, "status": {"phase": "Failed"}}),
        orjson.dumps({"status": STATUS, "kind": "Pod"}),
        orjson.dumps(orjson.loads(stored(status=STATUS)), option=orjson.OPT_INDENT_2),
    ],
)
def test_a_status_is_told_apart_from_the_rest(body: bytes) -> None:
    rest, status = parted(body)
    value = orjson.loads(body)
    assert status == value["status"]
    again = orjson.loads(rest + b'{"phase":"new"}}')
    assert again == {**value, "status": {"phase": "new"}}


def test_an_object_without_status_is_given_one() -> None:
    for body in (stored(), stored(status=None)):
        rest, status = parted(body)
        assert status == {}
        assert orjson.loads(rest + b"{}}") == {**orjson.loads(stored()), "status": {}}


def test_what_was_told_is_had_once_and_what_was_not_is_decoded() -> None:
    decode, body = HandedOver(Pod), stored(status=STATUS)
    value = decoder(Pod)(body)
    decode.tell(body, value)
    assert decode(bytes(memoryview(body))) is value
    again = decode(body)
    assert again == value and again is not value


def test_another_body_of_the_same_object_is_not_taken_for_what_was_told() -> None:
    decode, body = HandedOver(Pod), stored(status=STATUS)
    decode.tell(body, decoder(Pod)(body))
    assert decode(stored(status={"phase": "Failed"})).status.phase == "Failed"


def test_a_new_status_leaves_the_other_parts_the_same_objects() -> None:
    decode, before = HandedOver(Pod), decoder(Pod)(stored(status=STATUS))
    rest, _ = parted(stored(status=STATUS))
    text = orjson.dumps({"phase": "Failed"})
    decode.tell_status(rest + text + b"}", before, text)
    after = decode(rest + text + b"}")
    assert after.metadata is before.metadata and after.spec is before.spec
    assert after.status == PodStatus(phase="Failed")


def test_new_metadata_leave_the_other_parts_the_same_objects() -> None:
    decode, before = HandedOver(Pod), decoder(Pod)(stored(status=STATUS))
    metadata = {"name": "a", "labels": None, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    body = orjson.dumps({**orjson.loads(stored(status=STATUS)), "metadata": metadata})
    decode.tell_meta(body, before, orjson.dumps(metadata))
    after = decode(body)
    assert after == decoder(Pod)(body)
    assert after.status is before.status and after.spec is before.spec


def test_each_kind_is_handed_over_apart() -> None:
    assert handed_over(Pod) is handed_over(Pod)
    assert isinstance(handed_over(Deployment)(b"{}"), Deployment)
