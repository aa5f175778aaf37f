"""The long tail sees of a request what was authorised, and nothing that could mean more."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

import pytest

from proa.aws.gateway.plain import plain
from proa.aws.gateway.service import AwsError
from proa.base.http import Request
from proa.wire.aws.faults import Malformed

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "TrentService.ListKeys"}


def asked(
    method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Request:
    path, _, raw = target.partition("?")
    query = tuple(parse_qsl(raw, keep_blank_values=True))
    return Request(method, path, query, headers or {}, body, raw)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"Marker":"x&Action=DisableKey&KeyId=k"}'])
def test_a_json_request_has_its_target_and_its_body_only(body: bytes) -> None:
    headers = {**JSON, "action": "DisableKey"}
    found = plain("kms", "json", "ListKeys", asked("POST", "/?Action=DisableKey", body, headers))
    assert (found.raw_query, found.query) == ("", ())
    assert "action" not in found.headers
    assert b"&" not in found.body
    assert found.body
    assert json.loads(found.body) == json.loads(body or b"{}")


def test_a_json_request_that_calls_itself_a_form_is_none() -> None:
    headers = {**JSON, **FORM}
    found = plain("kms", "json", "ListKeys", asked("POST", "/", b"{}", headers))
    assert found.headers["content-type"] == "application/x-amz-json-1.1"


def test_a_form_is_said_once_in_the_body() -> None:
    request = asked("POST", "/?B=2", b"Action=ListTopics&A=a%26b", {**FORM, "x-amz-target": "X.Y"})
    found = plain("sns", "query", "ListTopics", request)
    assert parse_qsl(found.body.decode()) == [("Action", "ListTopics"), ("A", "a&b"), ("B", "2")]
    assert (found.raw_query, "x-amz-target" in found.headers) == ("", False)


@pytest.mark.parametrize(
    ("target", "body"),
    [("/", b"Action=DeleteTopic&TopicArn=theirs&TopicArn=mine"),
     ("/?TopicArn=mine", b"Action=DeleteTopic&TopicArn=theirs")],
)  # fmt: skip
def test_a_parameter_that_is_given_twice_is_refused(target: str, body: bytes) -> None:
    with pytest.raises(Malformed):
        plain("sns", "query", "DeleteTopic", asked("POST", target, body, FORM))


def test_a_rest_request_keeps_the_query_and_the_members_that_its_operation_has() -> None:
    headers = {"x-amz-target": "X.DeleteApi", "action": "DeleteApi"}
    request = asked("GET", "/v2/apis/mine?Action=DeleteApi&ApiId=theirs&apiId=theirs", b"", headers)
    found = plain("apigatewayv2", "rest-json", "GetApi", request)
    assert (found.raw_query, found.query, dict(found.headers)) == ("", (), {})
    listed = plain("apigatewayv2", "rest-json", "GetApis", asked("GET", "/v2/apis?maxResults=3"))
    assert listed.query == (("maxResults", "3"),)
    body = b'{"name":"a&b","apiId":"theirs"}'
    changed = asked("PATCH", "/v2/apis/mine", body)
    found = plain("apigatewayv2", "rest-json", "UpdateApi", changed)
    assert json.loads(found.body) == {"name": "a&b"}
    assert b"&" not in found.body


def test_an_s3_request_that_names_two_subresources_is_refused() -> None:
    with pytest.raises(AwsError, match="Conflicting query string parameters: policy, tagging"):
        plain("s3", "rest-xml", "GetBucketPolicy", asked("GET", "/b?tagging&policy"))
    for fine in ("/b?list-type=2&prefix=a", "/b/k?uploadId=1&partNumber=2", "/b/k?x-id=GetObject",
                 "/b/k?versionId=1&tagging", "/b/k?select&select-type=2"):  # fmt: skip
        plain("s3", "rest-xml", "GetObject", asked("GET", fine))
