"""Signature Version 4 against botocore's own signers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proa.base.clock import SystemClock
from proa.base.http import Request
from proa.wire.sigv4 import (
    SignatureFault,
    Signer,
    SigningKeys,
    canonical_request,
    format_timestamp,
    parse_timestamp,
    presign,
    read_claim,
    sign,
    verify,
)
from tests.unit.aws.client import to_request

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
CREDENTIALS = Credentials("AKIDEXAMPLE", SECRET)
SIGNER = Signer("AKIDEXAMPLE", SECRET, "us-east-1", "ecs")
NOW = 1_700_000_000.0


def check(request: Request, now: float, secret: str = SECRET) -> None:
    claim = read_claim(request)
    assert claim is not None
    verify(request, claim, secret, now, SigningKeys())


def refused(request: Request, now: float = NOW, secret: str = SECRET) -> SignatureFault:
    with pytest.raises(SignatureFault) as caught:
        check(request, now, secret)
    return caught.value


def plain(body: bytes = b"{}", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", "/", headers={"host": "127.0.0.1:4566", **named}, body=body)


def by_botocore(auth: Callable[..., Any], url: str, method: str, body: bytes, service: str,
                **options: Any) -> Request:  # fmt: skip
    request = AWSRequest(method=method, url=url, data=body, headers={"X-Amz-Meta-A": " a   b "})
    auth(CREDENTIALS, service, "us-east-1", **options).add_auth(request)
    return to_request(request.prepare())


@pytest.mark.parametrize(
    ("auth", "service"), [(SigV4Auth, "eks"), (S3SigV4Auth, "s3"), (SigV4QueryAuth, "sts"),
                          (S3SigV4QueryAuth, "s3")],
)  # fmt: skip
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:4566/",
        "http://127.0.0.1:4566/clusters/a%3Ab%2Fc/x?b=2&a=1&a=0&c",
        "http://127.0.0.1:4566/a%20b/./c/../d/?q=a%20b%2B&z=%C3%A9",
    ],
)
def test_what_botocore_signs_is_verified(auth: Any, service: str, url: str) -> None:
    request = by_botocore(auth, url, "GET", b"", service)
    check(request, SystemClock().now())
    assert refused(request, SystemClock().now(), "other").kind == "mismatch"


@given(
    path=st.text("abc-._~%2F:@ é/", max_size=12),
    query=st.lists(st.tuples(st.text("aé &=+/", min_size=1), st.text("aé &=/")), max_size=3),
    body=st.binary(max_size=20),
)
def test_what_we_sign_is_verified_and_any_change_refused(
    path: str, query: list[tuple[str, str]], body: bytes
) -> None:
    from urllib.parse import quote, urlencode

    raw = urlencode(query, quote_via=quote)
    asked = Request("PUT", "/" + quote(path), tuple(query), {"host": "h"}, body, raw)
    signed = sign(asked, SIGNER, NOW)
    check(signed, NOW)
    assert refused(replace(signed, body=body + b"x")).kind == "mismatch"
    assert refused(replace(signed, method="POST")).kind == "mismatch"
    assert refused(replace(signed, path=signed.path + "x")).kind == "mismatch"
    assert refused(replace(signed, raw_query=raw + "&zz=1")).kind == "mismatch"


def test_canonical_request_is_that_of_the_documents_example() -> None:
    request = Request(
        "GET", "/", headers={
            "host": "iam.amazonaws.com", "x-amz-date": "20150830T123600Z",
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        }, raw_query="Action=ListUsers&Version=2010-05-08",
    )  # fmt: skip
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    canonical = canonical_request(request, ("content-type", "host", "x-amz-date"), empty, "iam")
    assert canonical.splitlines() == [
        "GET", "/", "Action=ListUsers&Version=2010-05-08",
        "content-type:application/x-www-form-urlencoded; charset=utf-8",
        "host:iam.amazonaws.com", "x-amz-date:20150830T123600Z", "",
        "content-type;host;x-amz-date", empty,
    ]  # fmt: skip


def test_skew_of_fifteen_minutes_is_the_limit() -> None:
    signed = sign(plain(), SIGNER, NOW)
    check(signed, NOW + 900)
    check(signed, NOW - 900)
    late = refused(signed, NOW + 901)
    assert (late.kind, late.message) == (
        "expired",
        "Signature expired: 20231114T221320Z is now earlier than 20231114T221321Z "
        "(20231114T222821Z - 15 min.)",
    )
    assert refused(signed, NOW - 901).message.startswith(
        "Signature not yet current: 20231114T221320Z is still later than"
    )


def presigned(url: str, signer: Signer, expires_s: int) -> Request:
    return to_request(AWSRequest("GET", presign(url, signer, NOW, expires_s)).prepare())


def test_presigned_request_lives_as_long_as_it_says() -> None:
    signer = dataclasses.replace(SIGNER, service="s3")
    request = presigned("http://127.0.0.1:4566/b/k%20y?x=1", signer, 60)
    check(request, NOW + 60)
    assert refused(request, NOW + 61).kind == "expired"
    check(request, NOW - 300)
    assert refused(request, NOW - 301).kind == "early"


def test_presigned_sts_request_lives_fifteen_minutes() -> None:
    signer = dataclasses.replace(SIGNER, service="sts")
    request = presigned("http://127.0.0.1:4566/?Action=GetCallerIdentity", signer, 60)
    check(request, NOW + 900)
    assert refused(request, NOW + 901).kind == "expired"


def test_declared_body_hash_must_be_true() -> None:
    signed = sign(plain(x_amz_content_sha256="0" * 64), SIGNER, NOW)
    assert refused(signed).kind == "body"


@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
def test_only_s3_may_leave_its_body_out_of_the_signature(payload: str) -> None:
    unsigned = sign(plain(), dataclasses.replace(SIGNER, service="s3"), NOW, payload=payload)
    check(replace(unsigned, body=b"anything"), NOW)
    elsewhere = sign(plain(), SIGNER, NOW, payload=payload)
    assert refused(elsewhere).kind == "body"


def test_session_token_travels_in_the_claim() -> None:
    signed = sign(plain(), dataclasses.replace(SIGNER, token="T"), NOW)
    claim = read_claim(signed)
    assert claim is not None
    assert (claim.token, claim.region, claim.service) == ("T", "us-east-1", "ecs")
    check(signed, NOW)


def test_amz_header_added_after_signing_is_refused() -> None:
    signed = sign(plain(), SIGNER, NOW)
    added = replace(signed, headers={**signed.headers, "x-amz-target": "Evil.Delete"})
    assert refused(added).kind == "mismatch"
    fewer = {k: v for k, v in signed.headers.items() if k != "x-amz-date"} | {"date": "x"}
    assert refused(replace(signed, headers=fewer)).kind == "incomplete"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("SignedHeaders=host;x-amz-date", "SignedHeaders=x-amz-date"), "'Host' or ':authority'"),
        (("Credential=", "Credentials="), "requires 'Credential' parameter"),
        (("/aws4_request", ""), "exactly 5 slash-delimited elements"),
        (("Signature=", "Seal="), "requires 'Signature' parameter"),
    ],
)
def test_incomplete_authorization_says_what_is_missing(change: tuple[str, str], words: str) -> None:
    signed = sign(plain(), SIGNER, NOW)
    altered = signed.headers["authorization"].replace(*change)
    fault = refused(replace(signed, headers={**signed.headers, "authorization": altered}))
    assert (fault.kind, words in fault.message) == ("incomplete", True)


def test_scope_of_another_day_is_refused() -> None:
    signed = sign(plain(), SIGNER, NOW)
    altered = signed.headers["authorization"].replace("/20231114/", "/20231113/")
    fault = refused(replace(signed, headers={**signed.headers, "authorization": altered}))
    assert fault.message.startswith("Date in Credential scope does not match")


def test_unsigned_request_makes_no_claim() -> None:
    assert read_claim(plain()) is None
    assert read_claim(plain(authorization="Bearer x")) is None


def test_signing_keys_are_kept_within_a_bound() -> None:
    keys = SigningKeys(size=2)
    first = keys.get("s", "20240101", "r", "a")
    for service in ("b", "c", "d"):
        keys.get("s", "20240101", "r", service)
    assert len(keys._keys) == 2
    assert keys.get("s", "20240101", "r", "a") == first


def test_timestamps_round_trip() -> None:
    assert parse_timestamp(format_timestamp(NOW)) == NOW
    for text in ("2023-11-14T22:13:20Z", "20231314T221320Z", "20231114T221320", "", "x"):
        with pytest.raises(SignatureFault):
            parse_timestamp(text)


@pytest.mark.parametrize("expires", ["9" * 5000, "604801", "0", "-1", "٣", ""])
def test_an_expiry_that_is_no_span_of_seconds_is_refused(expires: str) -> None:
    fields = {"Algorithm": "AWS4-HMAC-SHA256", "Credential": "A/20231114/us-east-1/s3/aws4_request",
              "Signature": "a", "SignedHeaders": "host", "Date": "20231114T221320Z",
              "Expires": expires}  # fmt: skip
    query = tuple((f"X-Amz-{name}", value) for name, value in fields.items())
    assert refused(Request("GET", "/", query, {"host": "h"})).kind == "incomplete"


def test_a_signature_of_bytes_that_are_no_text_is_a_wrong_one() -> None:
    request = sign(plain(host="h"), SIGNER, NOW)
    broken = request.headers["authorization"].rpartition("=")[0] + "=\udcff"
    headers = {**request.headers, "authorization": broken}
    assert refused(replace(request, headers=headers)).kind == "mismatch"
