"""The policy simulator: what policies would decide, and by which of their statements.

Each action is tried on each resource. The identity's policies must allow it (or a resource's
policy), its permissions boundary must allow it too, and a deny in any of them wins. Keys of the
request that the policies ask for and nobody gave are named. Source: IAM API reference,
SimulatePrincipalPolicy and SimulateCustomPolicy; a statement's position is that of its braces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from proa.aws.gateway.desk import Desk, Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.iam.shared import no_such, page
from proa.cloud.identity import Entity, Source, entity_by_arn, policy_by_arn, sources_of
from proa.cloud.policy import (
    Access,
    Decision,
    MalformedPolicy,
    context_keys,
    evaluate,
    parse_policy,
)

MAX_TRIALS = 10_000
_WORDS = {"allow": "allowed", "deny": "explicitDeny", "none": "implicitDeny"}
_SOURCE_TYPE = "IAM Policy"


@dataclass(slots=True, frozen=True)
class Trial:
    """What is tried: on whose behalf, over which policies, with which keys."""

    principal: str
    identity: Sequence[Source]
    boundary: Sequence[Source] | None
    resource: Sequence[Source]
    keys: Mapping[str, tuple[str, ...]]


def _given_sources(given: Input, member: str) -> list[Source]:
    return [Source(f"{member}.{n}", text) for n, text in enumerate(given.get(member, []), 1)]


def _checked(sources: Iterable[Source]) -> None:
    for source in sources:
        try:
            parse_policy(source.document)
        except MalformedPolicy as error:
            raise AwsError("InvalidInput", f"{source.name}: {error}") from error


def _keys(given: Input) -> dict[str, tuple[str, ...]]:
    keys: dict[str, tuple[str, ...]] = {}
    for entry in given.get("ContextEntries", []):
        name = entry.get("ContextKeyName", "")
        if not name:
            raise AwsError("InvalidInput", "A context entry needs a ContextKeyName.")
        keys[name.lower()] = tuple(entry.get("ContextKeyValues", []))
    return keys


def _entity_keys(entity: Entity) -> dict[str, tuple[str, ...]]:
    keys: dict[str, tuple[str, ...]] = {
        "aws:principalarn": (entity.arn,),
        "aws:principalaccount": (entity.account,),
        "aws:userid": (entity.id,),
    }
    if entity.kind == "user":
        keys["aws:username"] = (entity.name,)
    for name, value in entity.tags.items():
        keys[f"aws:principaltag/{name.lower()}"] = (value,)
    return keys


def _boundary_of(desk: Desk, entity: Entity | None) -> list[Source] | None:
    if entity is None or not entity.boundary:
        return None
    found = policy_by_arn(desk.view, entity.account, entity.boundary)
    version = found.version(found.default) if found else None
    return [Source(found.name, version.document)] if found and version else []


def _trial(desk: Desk, given: Input, entity: Entity | None) -> Trial:
    identity = list(sources_of(desk.view, entity)) if entity else []
    identity += _given_sources(given, "PolicyInputList")
    boundary = _boundary_of(desk, entity)
    if "PermissionsBoundaryPolicyInputList" in given:
        boundary = _given_sources(given, "PermissionsBoundaryPolicyInputList")
    resource = [Source("ResourcePolicy", given["ResourcePolicy"])] if given.get(
        "ResourcePolicy"
    ) else []  # fmt: skip
    _checked([*identity, *(boundary or ()), *resource])
    principal = given.get("CallerArn") or (entity.arn if entity else "")
    if principal and (principal.count(":") < 5 or not principal.startswith("arn:")):
        raise AwsError("InvalidInput", f"Invalid CallerArn: {principal}")
    keys = (_entity_keys(entity) if entity else {}) | _keys(given)
    return Trial(principal, identity, boundary, resource, keys)


def _result(trial: Trial, action: str, resource: str) -> Output:
    access = Access(action, resource, ("AWS", trial.principal), trial.keys)
    decisions = [
        (sources, evaluate(access, [source.policy for source in sources]))
        for sources in (trial.identity, trial.resource, trial.boundary or ())
    ]
    (_, own), (_, by_resource), (_, bounded) = decisions
    allowed = "allow" in (own.effect, by_resource.effect)
    if any(decision.effect == "deny" for _, decision in decisions):
        effect = "deny"
        shown = [pair for pair in decisions if pair[1].effect == "deny"]
    else:
        within = trial.boundary is None or bounded.effect == "allow"
        effect = "allow" if allowed and within else "none"
        shown = [pair for pair in decisions[:2] if pair[1].effect == "allow"]
    policies = [source.policy for sources, _ in decisions for source in sources]
    output: Output = {
        "EvalActionName": action,
        "EvalResourceName": resource,
        "EvalDecision": _WORDS[effect],
        "MatchedStatements": [
            item for sources, decision in shown for item in _matched(sources, decision)
        ],
        "MissingContextValues": sorted(context_keys(policies) - trial.keys.keys()),
    }
    if trial.boundary is not None:
        output["PermissionsBoundaryDecisionDetail"] = {
            "AllowedByPermissionsBoundary": bounded.effect == "allow"
        }
    return output


def _matched(sources: Sequence[Source], decision: Decision) -> list[Output]:
    found = []
    for number, place in decision.matched:
        source = sources[number]
        start, end = spans(source.document)[place]
        found.append(
            {
                "SourcePolicyId": source.name,
                "SourcePolicyType": _SOURCE_TYPE,
                "StartPosition": _position(source.document, start),
                "EndPosition": _position(source.document, end),
            }
        )
    return found


def _position(document: str, offset: int) -> dict[str, int]:
    before = document[:offset]
    return {"Line": before.count("\n") + 1, "Column": offset - (before.rfind("\n") + 1) + 1}


@lru_cache(maxsize=256)
def spans(document: str) -> tuple[tuple[int, int], ...]:
    """Where each statement of a valid policy begins and ends, as offsets into its text."""
    decoder, position = json.JSONDecoder(), document.index("{") + 1
    while True:
        position = _skip(document, position, " \t\r\n,")
        name, position = decoder.raw_decode(document, position)
        position = _skip(document, position, " \t\r\n:")
        if name == "Statement":
            break
        _value, position = decoder.raw_decode(document, position)
    if document[position] == "{":
        return ((position, decoder.raw_decode(document, position)[1]),)
    found, position = [], position + 1
    while document[position := _skip(document, position, " \t\r\n,")] != "]":
        start = position
        _value, position = decoder.raw_decode(document, start)
        found.append((start, position))
    return tuple(found)


def _skip(document: str, position: int, letters: str) -> int:
    while document[position] in letters:
        position += 1
    return position


def _simulated(given: Input, trial: Trial) -> Output:
    actions, resources = given["ActionNames"], given.get("ResourceArns") or ["*"]
    for action in actions:
        if action != "*" and action.count(":") != 1:
            raise AwsError("InvalidInput", f"Invalid Action Name: {action}")
    for resource in resources:
        if resource != "*" and not resource.startswith("arn:"):
            raise AwsError("InvalidInput", f"Invalid Resource ARN: {resource}")
    pairs = [(action, resource) for action in actions for resource in resources]
    if len(pairs) > MAX_TRIALS:
        raise AwsError("InvalidInput", f"At most {MAX_TRIALS} pairs can be simulated at once.")
    numbered = [(f"{number:05d}", pair) for number, pair in enumerate(pairs)]
    return page(
        numbered, given, "EvaluationResults", lambda item: item[0],
        lambda item: _result(trial, *item[1]),
    )  # fmt: skip


def _source(desk: Desk, given: Input) -> Entity:
    arn = given["PolicySourceArn"]
    entity = entity_by_arn(desk.view, arn)
    if entity is None:
        raise no_such(f"The entity {arn} cannot be found.")
    return entity


async def simulate_principal(desk: Desk, _context: Context, given: Input) -> Output:
    """SimulatePrincipalPolicy: of a user, group or role, and of what is given besides."""
    return _simulated(given, _trial(desk, given, _source(desk, given)))


async def simulate_custom(desk: Desk, _context: Context, given: Input) -> Output:
    """SimulateCustomPolicy: of the policies given."""
    return _simulated(given, _trial(desk, given, None))


async def keys_for_principal(desk: Desk, _context: Context, given: Input) -> Output:
    """GetContextKeysForPrincipalPolicy."""
    return _asked(_trial(desk, given, _source(desk, given)))


async def keys_for_custom(desk: Desk, _context: Context, given: Input) -> Output:
    """GetContextKeysForCustomPolicy."""
    return _asked(_trial(desk, given, None))


def _asked(trial: Trial) -> dict[str, Any]:
    return {"ContextKeyNames": sorted(context_keys([s.policy for s in trial.identity]))}


HANDLERS: dict[str, Handler[Desk]] = {
    "SimulatePrincipalPolicy": simulate_principal,
    "SimulateCustomPolicy": simulate_custom,
    "GetContextKeysForPrincipalPolicy": keys_for_principal,
    "GetContextKeysForCustomPolicy": keys_for_custom,
}
