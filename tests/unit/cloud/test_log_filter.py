"""Filter patterns of CloudWatch Logs."""

from __future__ import annotations

import pytest

from proa.cloud.log_filter import InvalidPattern, compile_filter

ERROR = "[ERROR] 500 GET /a timed out"
JSON = (
    '{"level": "error", "code": 503, "user": {"id": 7, "admin": false}, "tags": ["a", "b"],'
    ' "note": null, "path": "/api/v1/x"}'
)
ACCESS = '127.0.0.1 - frank [10/Oct/2024:13:55:36 -0700] "GET /a.gif HTTP/1.0" 404 2326'


@pytest.mark.parametrize(
    ("pattern", "message", "matches"),
    [
        ("", ERROR, True),
        ("ERROR", ERROR, True),
        ("error", ERROR, False),
        ("ERROR GET", ERROR, True),
        ("ERROR POST", ERROR, False),
        ('"timed out"', ERROR, True),
        ('"out timed"', ERROR, False),
        ('"[ERROR]"', ERROR, True),
        ("?POST ?GET", ERROR, True),
        ("?POST ?PUT", ERROR, False),
        ("ERROR -GET", ERROR, False),
        ("ERROR -POST", ERROR, True),
        ("-POST", ERROR, True),
        ('-"timed out"', ERROR, False),
        ("?POST ERROR", ERROR, True),
        ('{ $.level = "error" }', JSON, True),
        ('{ $.level = "ERROR" }', JSON, False),
        ("{ $.level = err* }", JSON, True),
        ('{ $.path = "/api/*/x" }', JSON, True),
        ("{ $.code = 503 }", JSON, True),
        ("{ $.code != 503 }", JSON, False),
        ("{ $.code >= 500 && $.code < 504 }", JSON, True),
        ("{ $.code > 503 || $.user.id = 7 }", JSON, True),
        ('{ ($.code > 503 || $.user.id = 7) && $.level != "error" }', JSON, False),
        ('{ $.tags[0] = "a" }', JSON, True),
        ('{ $.tags[*] = "b" }', JSON, True),
        ('{ $.tags[5] = "b" }', JSON, False),
        ("{ $.note IS NULL }", JSON, True),
        ("{ $.user.admin IS FALSE }", JSON, True),
        ("{ $.user.admin IS TRUE }", JSON, False),
        ("{ $.missing NOT EXISTS }", JSON, True),
        ("{ $.level NOT EXISTS }", JSON, False),
        ("{ $.missing != 1 }", JSON, False),
        ('{ $["user"].id = 7 }', JSON, True),
        ('{ $.level = "error" }', ERROR, False),
        ("[ip, id, user, at, request, status_code = 404, size]", ACCESS, True),
        ("[ip, id, user, at, request, status_code = 4*, size > 1000]", ACCESS, True),
        ("[ip, id, user, at, request, status_code = 5*, size]", ACCESS, False),
        ("[ip, ..., status_code = 404, size]", ACCESS, True),
        ("[ip, user]", ACCESS, False),
        ('[ip, id, user, at, request = "GET*", ...]', ACCESS, True),
    ],
)
def test_pattern(pattern: str, message: str, matches: bool) -> None:
    assert compile_filter(pattern)(message) is matches


@pytest.mark.parametrize(
    "pattern",
    [
        "{ $.a = 1", "{ $.a }", "{ $.a = }", "{ $.a > x }", "{ ($.a = 1 }", "{ $.a IS MAYBE }",
        "[a, b", "[a, , b]", "[a, ..., b, ...]", "%regex%", "{" + "(" * 40 + "$.a = 1",
    ],
)  # fmt: skip
def test_pattern_that_cannot_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        compile_filter(pattern)
