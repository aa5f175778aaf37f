"""Tokens signed with ES256, with joserfc as the other side."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from proa.kube import pki
from proa.kube.api.es256 import TokenKey

PEM = pki.key_bytes(pki.new_key())
KEY = TokenKey(PEM)
THEIRS = ECKey.import_key(PEM)
CLAIMS = {"iss": "me", "aud": ["a"], "n": 7}


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_another_library_reads_what_was_signed_and_the_other_way_round() -> None:
    token = KEY.sign(CLAIMS)
    read = jwt.decode(token, THEIRS, algorithms=["ES256"])
    assert (read.claims, read.header["kid"]) == (CLAIMS, THEIRS.thumbprint())
    assert KEY.read(jwt.encode({"alg": "ES256"}, CLAIMS, THEIRS)) == CLAIMS
    assert KEY.public == {k: THEIRS.as_dict(private=False)[k] for k in ("crv", "kty", "x", "y")}


def _others() -> list[tuple[str, str]]:
    head, claims, signature = KEY.sign(CLAIMS).split(".")
    stranger = TokenKey(pki.key_bytes(pki.new_key())).sign(CLAIMS)
    octets = OctKey.import_key(json.dumps(KEY.public))
    hashed = jwt.encode({"alg": "HS256"}, CLAIMS, octets, algorithms=["HS256"])
    half = signature[: len(signature) // 2]
    return [
        ("another key", stranger),
        ("a hash with the public key", hashed),
        ("no signature", f"{encoded({'alg': 'none'})}.{claims}."),
        ("no algorithm", f"{encoded({'typ': 'JWT'})}.{claims}.{signature}"),
        (
            "something critical",
            f"{encoded({'alg': 'ES256', 'crit': ['b64']})}.{claims}.{signature}",
        ),
        ("other claims", f"{head}.{encoded({'iss': 'you'})}.{signature}"),
        ("half a signature", f"{head}.{claims}.{half}"),
        ("a signature of zeros", f"{head}.{claims}.{'A' * 86}"),
        ("padding", f"{head}.{claims}.{signature}=="),
        ("four parts", f"{head}.{claims}.{signature}.x"),
        ("two parts", f"{head}.{claims}"),
        ("a list as header", f"{encoded([])}.{claims}.{signature}"),
        ("no JSON", f"{head}.AAAA.{signature}"),
        ("nothing", ""),
        ("letters of elsewhere", f"{head}.{claims}.é{signature[1:]}"),
    ]


@pytest.mark.parametrize(("what", "token"), _others(), ids=[what for what, _ in _others()])
def test_nothing_else_is_believed(what: str, token: str) -> None:
    with pytest.raises(ValueError, match=r"token|signature|key"):
        KEY.read(token)


@given(st.integers(0, 10_000), st.sampled_from("AZaz09-_.=+/ "))
def test_a_changed_letter_is_noticed(place: int, letter: str) -> None:
    token = KEY.sign(CLAIMS)
    place %= len(token)
    if token[place] == letter:
        return
    with pytest.raises(ValueError, match=r"token|signature|key"):
        KEY.read(token[:place] + letter + token[place + 1 :])
