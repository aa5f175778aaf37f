"""AWS requests and constraints as data: ``tests/protocols/aws_*.json``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from proa.base.http import Request
from proa.wire.aws.faults import Fault, Malformed, UnmodelledMember
from proa.wire.aws.model import UnknownService, load_model
from proa.wire.aws.patterns import compile_pattern
from proa.wire.aws.service import ServiceCodec
from proa.wire.aws.values import ISO8601, format_instant, parse_instant

CASES = Path(__file__).parents[2] / "protocols"


def cases(file: str) -> list[Any]:
    loaded = json.loads((CASES / file).read_text())
    return [pytest.param(case, id=case["name"]) for case in loaded]


@cache
def codec(service: str, operation: str) -> ServiceCodec:
    return ServiceCodec(service, [operation])


def request_of(case: dict[str, Any]) -> Request:
    if "form" in case:
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        return Request("POST", "/", headers=headers, body=case["form"].encode())
    body = case["text"] if "text" in case else json.dumps(case["json"])
    headers = {"x-amz-target": f"Target.{case['operation']}"}
    return Request("POST", "/", headers=headers, body=body.encode())


@pytest.mark.parametrize("case", cases("aws_requests.json"))
def test_request_is_read_by_the_model(case: dict[str, Any]) -> None:
    wire = codec(case["service"], case["operation"]).protocol_of(request_of(case))
    name, labels = wire.locate(request_of(case))
    assert name == case["operation"]
    if "malformed" in case:
        with pytest.raises(Malformed) as caught:
            wire.operations[name].parse(request_of(case), labels)
        assert str(caught.value) == case["malformed"]
    else:
        assert wire.operations[name].parse(request_of(case), labels) == case["input"]


@pytest.mark.parametrize("case", cases("aws_constraints.json"))
def test_constraint_is_worded_as_aws_words_it(case: dict[str, Any]) -> None:
    service = codec(case["service"], case["operation"])
    protocol = next(iter(service._protocols))
    fault = service.validate(protocol, case["operation"], case["input"])
    wanted = Fault(case["code"], case["message"]) if "code" in case else None
    assert fault == wanted


def test_member_that_the_model_lacks_is_our_bug() -> None:
    for service, operation in (("ecs", "ListClusters"), ("iam", "ListRoles")):
        wire = next(iter(codec(service, operation)._protocols.values()))
        with pytest.raises(UnmodelledMember):
            wire.operations[operation].encode({"flavour": "mint"}, "r")


def test_absent_members_may_be_none() -> None:
    wire = next(iter(codec("ecs", "ListClusters")._protocols.values()))
    assert wire.operations["ListClusters"].encode({"nextToken": None}, "r").body == b"{}"


def test_text_that_xml_cannot_carry_is_replaced() -> None:
    wire = next(iter(codec("iam", "GetRole")._protocols.values()))
    body = wire.operations["GetRole"].encode({"Role": {"Path": "a\x00<&>\r"}}, "r").body
    assert "<Path>a\ufffd&lt;&amp;&gt;&#xD;</Path>".encode() in body


def test_modelled_error_has_its_status_code_and_own_members() -> None:
    wire = next(iter(codec("ecs", "ListClusters")._protocols.values()))
    fault = Fault("ServerException", "oops")
    assert wire.encode_fault(fault, "r").status == 500
    conflict = Fault("ConflictException", "busy", fields={"resourceIds": ["a"]})
    answer = wire.encode_fault(conflict, "r")
    assert json.loads(answer.body) == {
        "__type": "ConflictException", "message": "busy", "resourceIds": ["a"],
    }  # fmt: skip
    iam = next(iter(codec("iam", "GetRole")._protocols.values()))
    for spelled in ("NoSuchEntity", "NoSuchEntityException"):
        answer = iam.encode_fault(Fault(spelled, "gone"), "r")
        assert (answer.status, b"<Code>NoSuchEntity</Code>" in answer.body) == (404, True)


def test_unknown_service_is_named() -> None:
    with pytest.raises(UnknownService):
        load_model("teapot")


def test_operation_that_the_model_lacks_cannot_be_compiled() -> None:
    with pytest.raises(AssertionError, match="MakeTea"):
        ServiceCodec("ecs", ["MakeTea"])


def test_patterns_of_java_are_translated_or_left_unenforced() -> None:
    tag = compile_pattern(r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*")
    assert tag is not None
    assert tag.fullmatch("é 漢 9") and not tag.fullmatch("!")
    dash = compile_pattern(r"[\w-_]*")
    assert dash is not None and dash.fullmatch("a-b_c") and not dash.fullmatch("a.b")
    wide = compile_pattern(r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*")
    assert wide is not None and wide.fullmatch("a😀\n") and not wide.fullmatch("\x00")
    assert compile_pattern(r"[a-z&&[^x]]") is None
    assert compile_pattern("(unbalanced") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-01-02T03:04:05Z", 1704164645.0),
        ("2024-01-02T03:04:05.250Z", 1704164645.25),
        ("2024-01-02T05:04:05+02:00", 1704164645.0),
        ("1704164645.5", 1704164645.5),
        ("Tue, 02 Jan 2024 03:04:05 GMT", 1704164645.0),
    ],
)
def test_instants_are_read_in_every_spelling(text: str, seconds: float) -> None:
    assert parse_instant(text, ISO8601) == seconds


def test_instants_that_make_no_sense_are_refused() -> None:
    for text in ("yesterday", "nan", "1e99", ""):
        with pytest.raises(Malformed):
            parse_instant(text, ISO8601)
    assert format_instant(1704164645.0, ISO8601) == "2024-01-02T03:04:05Z"
    assert format_instant(1704164645.25, ISO8601) == "2024-01-02T03:04:05.250Z"
