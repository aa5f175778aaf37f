"""Policy documents and decisions, by the rules of the IAM User Guide."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.cloud.policy import (
    Access,
    MalformedPolicy,
    Policy,
    check_identity_policy,
    check_trust_policy,
    context_keys,
    decide,
    evaluate,
    matches,
    parse_policy,
)

ANN = "arn:aws:iam::123456789012:user/ann"
SESSION = "arn:aws:sts::123456789012:assumed-role/web/task-1"


def policy(*statements: dict[str, Any]) -> Policy:
    return parse_policy(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))


def allow(**parts: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **parts}


def deny(**parts: Any) -> dict[str, Any]:
    return {**allow(**parts), "Effect": "Deny"}


def access(action: str = "s3:GetObject", resource: str = "arn:aws:s3:::b/k", **keys: Any) -> Access:
    named = {
        name.replace("__", ":"): (value if isinstance(value, tuple) else (value,))
        for name, value in keys.items()
    }
    return Access(action, resource, ("AWS", ANN), named)


def test_nothing_is_allowed_by_default() -> None:
    assert decide(access(), []) == "none"
    assert decide(access("s3:PutObject"), [policy(allow())]) == "none"


def test_deny_in_any_policy_wins() -> None:
    assert decide(access(), [policy(allow()), policy(deny())]) == "deny"
    assert decide(access(), [policy(deny(), allow())]) == "deny"


def test_actions_ignore_case_and_take_wildcards() -> None:
    assert decide(access("S3:getobject"), [policy(allow())]) == "allow"
    assert decide(access("s3:GetObjectAcl"), [policy(allow(Action="s3:Get*"))]) == "allow"
    assert decide(access("s3:GetObject"), [policy(allow(Action="s3:Get?bject"))]) == "allow"
    assert decide(access("sqs:Get"), [policy(allow(Action=["s3:*", "sqs:*"]))]) == "allow"


def test_resources_keep_case_and_take_wildcards() -> None:
    scoped = policy(allow(Resource="arn:aws:s3:::b/*"))
    assert decide(access(), [scoped]) == "allow"
    assert decide(access(resource="arn:aws:s3:::B/k"), [scoped]) == "none"


def test_not_action_and_not_resource_name_all_others() -> None:
    others = {"Effect": "Allow", "NotAction": "iam:*", "NotResource": "arn:aws:s3:::secret/*"}
    assert decide(access(), [policy(others)]) == "allow"
    assert decide(access("iam:GetRole"), [policy(others)]) == "none"
    assert decide(access(resource="arn:aws:s3:::secret/k"), [policy(others)]) == "none"


def test_policy_variables_are_filled_from_the_request() -> None:
    home = policy(allow(Resource="arn:aws:s3:::b/${aws:username}/*"))
    mine = "arn:aws:s3:::b/ann/x"
    assert decide(access(resource=mine, aws__username="ann"), [home]) == "allow"
    assert decide(access(resource=mine, aws__username="bob"), [home]) == "none"
    assert decide(access(resource=mine), [home]) == "none"
    literal = policy(allow(Resource="arn:aws:s3:::b/${*}"))
    assert decide(access(resource="arn:aws:s3:::b/*"), [literal]) == "allow"


@pytest.mark.parametrize(
    ("operator", "wanted", "found", "result"),
    [
        ("StringEquals", "a", "a", True),
        ("StringEquals", "a", "A", False),
        ("StringEquals", ["b", "a"], "a", True),
        ("StringEquals", "a", None, False),
        ("StringNotEquals", "a", "b", True),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", "a", None, True),
        ("StringEqualsIgnoreCase", "a", "A", True),
        ("StringEqualsIfExists", "a", None, True),
        ("StringEqualsIfExists", "a", "b", False),
        ("StringLike", "a*c?", "abbcd", True),
        ("StringNotLike", "a*", "abc", False),
        ("NumericLessThan", "10", "9.5", True),
        ("NumericLessThan", "10", "x", False),
        ("NumericGreaterThanEquals", 10, "10", True),
        ("NumericNotEquals", "1", "2", True),
        ("DateGreaterThan", "2024-01-01T00:00:00Z", "2024-06-01T00:00:00Z", True),
        ("DateLessThan", "2024-01-01T00:00:00Z", "1704067201", False),
        ("Bool", True, "true", True),
        ("Bool", "false", "true", False),
        ("IpAddress", "10.0.0.0/8", "10.1.2.3", True),
        ("IpAddress", "10.0.0.0/8", "11.1.2.3", False),
        ("NotIpAddress", "10.0.0.0/8", "11.1.2.3", True),
        ("ArnLike", "arn:aws:iam::*:role/w*", "arn:aws:iam::1:role/web", True),
        ("ArnLike", "arn:aws:*", "arn:aws:iam::1:role/web", False),
        ("ArnEquals", "arn:aws:iam::1:role/*", "arn:aws:iam::1:user/web", False),
        ("Null", "true", None, True),
        ("Null", "true", "a", False),
        ("Null", "false", "a", True),
        ("ForAnyValue:StringEquals", "a", ("a", "b"), True),
        ("ForAllValues:StringEquals", "a", ("a", "b"), False),
        ("ForAllValues:StringEquals", ["a", "b"], ("a", "b"), True),
        ("ForAllValues:StringEquals", "a", None, True),
        ("ForAnyValue:StringEquals", "a", None, False),
        ("ForAnyValue:StringNotEquals", "a", ("a", "b"), True),
    ],
)
def test_condition_operator(operator: str, wanted: Any, found: Any, result: bool) -> None:
    conditional = policy(allow(Condition={operator: {"Key:Name": wanted}}))
    keys = {} if found is None else {"key__name": found}
    assert (decide(access(**keys), [conditional]) == "allow") is result


def test_all_conditions_must_hold() -> None:
    both = policy(allow(Condition={"StringEquals": {"a": "1", "b": "2"}}))
    assert decide(access(a="1", b="2"), [both]) == "allow"
    assert decide(access(a="1", b="3"), [both]) == "none"


@pytest.mark.parametrize(
    ("trusted", "caller", "result"),
    [
        ({"AWS": ANN}, ("AWS", ANN), "allow"),
        ({"AWS": "arn:aws:iam::123456789012:root"}, ("AWS", ANN), "allow"),
        ({"AWS": "123456789012"}, ("AWS", ANN), "allow"),
        ({"AWS": "999999999999"}, ("AWS", ANN), "none"),
        ({"AWS": "arn:aws:iam::123456789012:role/web"}, ("AWS", SESSION), "allow"),
        ({"AWS": "arn:aws:iam::123456789012:role/other"}, ("AWS", SESSION), "none"),
        ({"Service": "ecs-tasks.amazonaws.com"}, ("Service", "ecs-tasks.amazonaws.com"), "allow"),
        ({"Service": ["ec2.amazonaws.com"]}, ("Service", "ecs-tasks.amazonaws.com"), "none"),
        ("*", ("AWS", ANN), "allow"),
    ],
)
def test_principal_is_matched_by_kind(trusted: Any, caller: tuple[str, str], result: str) -> None:
    statement = {"Effect": "Allow", "Principal": trusted, "Action": "sts:AssumeRole"}
    assert decide(Access("sts:AssumeRole", "role", caller), [policy(statement)]) == result


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("nonsense", "This policy contains invalid Json"),
        ('{"Statement": []}', "Syntax errors in policy."),
        ('{"Version": "2020-01-01", "Statement": {}}',
         "The policy must contain a valid version string"),
        ('{"Statement": {"Effect": "Maybe", "Action": "*"}}', "Syntax errors in policy. (Effect)"),
        ('{"Statement": {"Effect": "Allow"}}', "Policy statement must contain actions."),
        ('{"Statement": {"Effect": "Allow", "Action": "get", "Resource": "*"}}',
         "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
        ('{"Statement": {"Effect": "Allow", "Action": "*", "Colour": "red"}}',
         "Syntax errors in policy. (Colour)"),
        ('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition":'
         ' {"Sometimes": {"a": "b"}}}}', "Invalid Condition type : Sometimes."),
        ('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "bucket"}}',
         'Resource bucket must be in ARN format or "*".'),
        ('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*"}}',
         "Policy document should not specify a principal."),
    ],
)  # fmt: skip
def test_malformed_document_is_named_in_iams_words(document: str, message: str) -> None:
    with pytest.raises(MalformedPolicy) as caught:
        check_identity_policy(document)
    assert str(caught.value) == message


def test_trust_policy_may_not_name_other_actions() -> None:
    with pytest.raises(MalformedPolicy, match="STS AssumeRole"):
        check_trust_policy('{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:Get"}}')


@given(st.text("abc*?", max_size=8), st.text("abc", max_size=8))
def test_wildcards_agree_with_a_plain_matcher(pattern: str, text: str) -> None:
    def plain(p: str, t: str) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            return any(plain(p[1:], t[index:]) for index in range(len(t) + 1))
        return bool(t) and p[0] in ("?", t[0]) and plain(p[1:], t[1:])

    assert matches(pattern, text) == plain(pattern, text)


def test_evaluation_names_the_statements_that_decided() -> None:
    policies = [policy(allow(), allow(Action="s3:Put*")), policy(allow(), deny(Resource="x"))]
    allowed = evaluate(access(), policies)
    assert (allowed.effect, allowed.matched) == ("allow", ((0, 0), (1, 0)))
    denied = evaluate(access(), [*policies, policy(deny())])
    assert (denied.effect, denied.matched) == ("deny", ((2, 0),))
    assert evaluate(access("s3:ListBucket"), policies).matched == ()


def test_keys_that_policies_ask_for_are_found_in_conditions_and_variables() -> None:
    asked = policy(
        allow(Resource="arn:aws:s3:::${aws:username}/${*}"),
        allow(Condition={"StringLike": {"aws:PrincipalTag/Team": "${aws:SourceVpc, 'x'}"}}),
    )
    wanted = {"aws:username", "aws:principaltag/team", "aws:sourcevpc"}
    assert context_keys([asked]) == wanted


@pytest.mark.parametrize("pattern", ["b/${*}", "b/${?}", "b/${aws:username}"])
def test_what_stands_for_a_variable_is_text_and_no_wildcard(pattern: str) -> None:
    keys = {"aws:username": ("*",)}
    own = "b/?" if "?" in pattern else "b/*"
    policies = [policy(allow(Resource=pattern))]
    assert decide(Access("s3:GetObject", own, ("AWS", ANN), keys), policies) == "allow"
    assert decide(Access("s3:GetObject", "b/a", ("AWS", ANN), keys), policies) == "none"


def test_a_variable_in_a_condition_is_text_whatever_the_operator() -> None:
    for operator in ("StringLike", "StringEquals"):
        wanted = {operator: {"s3:prefix": "${aws:username}"}}
        policies = [policy(allow(Condition=wanted))]
        for prefix, effect in (("*", "allow"), ("a", "none")):
            keys = {"aws:username": ("*",), "s3:prefix": (prefix,)}
            assert decide(Access("s3:GetObject", "x", ("AWS", ANN), keys), policies) == effect


def test_an_exception_that_is_not_known_allows_nothing_and_denies_all() -> None:
    excluded = {"NotResource": "b/${aws:username}/*"}
    unknown = Access("s3:GetObject", "b/bob/x", ("AWS", SESSION), {})
    bodies = [{k: v for k, v in make(**excluded).items() if k != "Resource"}
              for make in (allow, deny)]  # fmt: skip
    assert decide(unknown, [policy(bodies[0])]) == "none"
    assert decide(unknown, [policy(allow(), bodies[1])]) == "deny"


@pytest.mark.parametrize("word", ["true", "True", "TRUE"])
def test_null_is_asked_for_in_any_case(word: str) -> None:
    guarded = [policy(allow(), deny(Condition={"Null": {"aws:MultiFactorAuthAge": word}}))]
    assert decide(Access("s3:GetObject", "x", ("AWS", ANN), {}), guarded) == "deny"


def test_a_quantifier_that_does_not_exist_is_refused() -> None:
    condition = {"ForAllValue:StringEquals": {"aws:TagKeys": ["a"]}}
    with pytest.raises(MalformedPolicy, match="Invalid Condition type"):
        policy(allow(Condition=condition))
