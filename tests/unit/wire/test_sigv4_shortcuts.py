"""What is remembered of signed requests changes nothing in how they are read."""

from __future__ import annotations

import pytest

from proa.base.http import Request
from proa.wire.sigv4 import SignatureFault, claimed_region, read_claim

SCOPE = "AKIA/20260101/eu-west-1/ecs/aws4_request"
SIGNED = "SignedHeaders=host;x-amz-date"


def request(authorization: str) -> Request:
    headers = {"host": "a", "x-amz-date": "20260101T000000Z", "authorization": authorization}
    return Request("POST", "/", headers=headers)


@pytest.mark.parametrize("gap", [" ", ""])
def test_each_request_has_its_own_signature(gap: str) -> None:
    for signature in ("aa", "bb", "aa"):
        said = f"AWS4-HMAC-SHA256 Credential={SCOPE},{gap}{SIGNED},{gap}Signature={signature}"
        claim = read_claim(request(said))
        assert claim is not None
        assert (claim.signature, claim.region, claim.access_key) == (signature, "eu-west-1", "AKIA")
        assert claim.signed_headers == ("host", "x-amz-date")


def test_the_order_of_the_fields_does_not_matter() -> None:
    said = f"AWS4-HMAC-SHA256 Signature=cc, {SIGNED}, Credential={SCOPE}"
    claim = read_claim(request(said))
    assert claim is not None and claim.signature == "cc"
    later = f"AWS4-HMAC-SHA256 Credential={SCOPE}, Signature=dd, {SIGNED}"
    claim = read_claim(request(later))
    assert claim is not None and claim.signature == "dd"


def test_a_missing_field_is_missed_each_time() -> None:
    for _ in range(2):
        with pytest.raises(SignatureFault, match="SignedHeaders"):
            read_claim(request(f"AWS4-HMAC-SHA256 Credential={SCOPE}, Signature=aa"))
        with pytest.raises(SignatureFault, match="Signature"):
            read_claim(request(f"AWS4-HMAC-SHA256 Credential={SCOPE}, {SIGNED}, Signature="))


def test_the_region_is_read_from_header_and_query() -> None:
    assert claimed_region(request(f"AWS4-HMAC-SHA256 Credential={SCOPE}, {SIGNED}")) == "eu-west-1"
    query = (("X-Amz-Credential", SCOPE), ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"))
    assert claimed_region(Request("GET", "/", query)) == "eu-west-1"
    assert claimed_region(Request("GET", "/", (("X-Amz-Credential", "nonsense"),))) == ""
    assert claimed_region(Request("GET", "/")) == ""
