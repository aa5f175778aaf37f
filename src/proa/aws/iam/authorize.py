"""Authorisation: whether a caller's policies allow an action.

``Authority`` is the gateway's ``Authorizer``. Root may do everything; a user or role needs an
allow in its policies, within its permissions boundary and its session's policies, and no deny
in any. The resources of a call are the ARNs among its input's top-level members, and those that
``resources.json`` makes of names; a call that names none is for ``*``. A call on several
resources passes when one of them is allowed and none denied: AWS's per-operation resource lists
are in no public model. Who hands a role to a service (``pass_role.json``) needs ``iam:PassRole``
on it. Words: IAM User Guide, "Troubleshoot access denied error messages".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import unquote

import orjson

from proa.aws.gateway.service import Context, Input
from proa.base.clock import iso8601
from proa.cloud.identity import (
    SESSIONS,
    Entity,
    Session,
    entity_by_arn,
    entity_of,
    is_root,
    policies_of,
    policy_by_arn,
)
from proa.cloud.policy import Access, Policy, decide, parse_policy
from proa.cloud.secrets import CannotOpen, Sealer
from proa.reconcile.view import View

# What every caller may do, whatever the policies say (STS API reference); AssumeRole asks the
# role's trust policy and decides by itself.
ALWAYS = frozenset({"sts:GetCallerIdentity", "sts:GetSessionToken", "sts:AssumeRole"})


_SEALED = "authorization message"
_MAY_NAME = re.compile("arn|resource|identifier|policy", re.IGNORECASE)


def _data(name: str) -> Any:
    return orjson.loads((resources.files("proa.aws.iam") / name).read_bytes())


@cache
def _templates() -> Mapping[str, Mapping[str, Any]]:
    templates: Mapping[str, Mapping[str, Any]] = _data("resources.json")
    return templates


@cache
def _passed() -> Mapping[str, Mapping[str, str]]:
    """Action → member (dotted) → the service that gets the role."""
    passed: Mapping[str, Mapping[str, str]] = _data("pass_role.json")
    return passed


def resources_of(context: Context, action: str, given: Input) -> list[str]:
    """The ARNs a call is about, or ``["*"]``."""
    return list(dict.fromkeys(arn for group in groups_of(context, action, given) for arn in group))


def groups_of(context: Context, action: str, given: Input) -> list[list[str]]:
    """The ARNs a call is about, by the member that names them: a call is allowed when all of some
    member's are. Free text is none of them, though it may read like an ARN: where members are
    known to name resources, those count; else members that are called so, together."""
    prefix = action.partition(":")[0]
    templates = _templates().get(prefix, {})
    named: list[list[str]] = []
    told: list[str] = []
    for name, value in given.items():
        texts = [text for text in (value if isinstance(value, list) else [value])
                 if isinstance(text, str)]  # fmt: skip
        if name in templates:
            arns = [text if text.startswith("arn:") else _arn(context, templates[name], given, text)
                    for text in texts]  # fmt: skip
            named.append(list(dict.fromkeys(arn for arn in arns if arn)))
        elif _MAY_NAME.search(name):
            told += [text for text in texts if text.startswith("arn:")]
    named = [group for group in named if group]
    if named or not told:
        return named or [["*"]]
    own = [arn for arn in told if [*arn.split(":"), ""][2] == prefix]
    return [list(dict.fromkeys(own or told))]


def _arn(context: Context, template: Any, given: Input, text: str) -> str:
    """The ARN that a template makes of a member's value; "" where a narrower member is given."""
    if isinstance(template, dict):
        if template["unless"] in given:
            return ""
        template = template["arn"]
    known = {"cluster": "default", **given}
    names = _Names(
        known,
        region=context.region,
        account=context.account,
        value=text,
        tail=text.rpartition("/")[2],
    )
    arn: str = template.format_map(names)
    return arn.replace(":parameter//", ":parameter/")


def passed_roles(action: str, given: Input) -> Iterator[tuple[str, str]]:
    """The roles (ARNs) that a call hands to a service, and that service."""
    for member, service in _passed().get(action, {}).items():
        value: Any = given
        for part in member.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str) and value.startswith("arn:"):
            yield value, service


class _Names(dict[str, object]):
    """The names a template may use; what is missing is any."""

    def __init__(self, given: Mapping[str, object], **names: str) -> None:
        super().__init__({**given, **names})

    def __missing__(self, name: str) -> str:
        return "*"


def _request_tags(given: Input) -> Iterator[tuple[str, str]]:
    for member in ("tags", "Tags"):
        tags = given.get(member)
        if isinstance(tags, dict):
            yield from tags.items()
        elif isinstance(tags, list):
            for tag in tags:
                yield tag.get("key", tag.get("Key", "")), tag.get("value", tag.get("Value", ""))


def keys_of(
    context: Context, entity: Entity | None, session: Session | None, given: Input
) -> dict[str, tuple[str, ...]]:
    """The condition keys of a call, in lower case."""
    keys: dict[str, tuple[str, ...]] = {
        "aws:principalarn": (entity.arn if entity else context.principal_arn,),
        "aws:principalaccount": (context.account,),
        "aws:requestedregion": (context.region,),
        "aws:currenttime": (iso8601(context.now),),
        "aws:epochtime": (str(int(context.now)),),
        "aws:securetransport": ("false",),
        "aws:viaawsservice": ("false",),
    }
    if context.source_ip:
        keys["aws:sourceip"] = (context.source_ip,)
    tags: dict[str, str] = {}
    if entity is not None:
        keys["aws:principaltype"] = ("AssumedRole" if entity.kind == "role" else "User",)
        keys["aws:userid"] = (session.entity_id if session else entity.id,)
        if entity.kind == "user":
            keys["aws:username"] = (entity.name,)
        tags |= entity.tags
    if session is not None:
        tags |= session.tags
    for key, value in tags.items():
        keys[f"aws:principaltag/{key.lower()}"] = (value,)
    for key, value in _request_tags(given):
        keys[f"aws:requesttag/{key.lower()}"] = (value,)
    return keys


@dataclass(slots=True, frozen=True)
class _Layer:
    """Policies of one kind; each layer must allow."""

    name: str  # as refusals call it
    policies: Sequence[Policy]


class Authority:
    """Decides calls over the identities in the view. With a sealer, refusals of EC2 calls carry
    the message that DecodeAuthorizationMessage opens."""

    def __init__(self, view: View, sealer: Sealer | None = None) -> None:
        self._view, self._sealer = view, sealer

    def __call__(self, context: Context, action: str, given: Input) -> str | None:
        """The denial's message, or None when the call is allowed."""
        if is_root(context.principal_arn) or action in ALWAYS:
            return None
        denial = self.denial(context, action, given)
        if denial is None and action == "s3:PutObject" and isinstance(given.get("CopySource"), str):
            source = "arn:aws:s3:::" + unquote(given["CopySource"].partition("?")[0]).lstrip("/")
            denial = self._denial(context, "s3:GetObject", [[source]], given, {})
        for role, service in passed_roles(action, given) if denial is None else ():
            passed = {"iam:passedtoservice": (service,)}
            denial = denial or self._denial(context, "iam:PassRole", [[role]], given, passed)
        return denial

    def denial(self, context: Context, action: str, given: Input) -> str | None:
        """Like a call, but for every caller and action alike (AssumeRole asks it)."""
        groups = groups_of(context, action, given)
        wanted = [[self._whole(arn) for arn in group] for group in groups]
        return self._denial(context, action, wanted, given, {})

    def _whole(self, arn: str) -> str:
        """The ARN of a user, group or role with its path, which a call names without."""
        head, slash, name = arn.rpartition("/")
        kind = head.rpartition(":")[2]
        if not slash or ":iam::" not in head or kind not in ("user", "group", "role"):
            return arn
        entity = entity_by_arn(self._view, arn, any_path=True)
        return entity.arn if entity is not None and entity.name == name else arn

    def _denial(
        self,
        context: Context,
        action: str,
        wanted: Sequence[Sequence[str]],
        given: Input,
        more: Mapping[str, tuple[str, ...]],
    ) -> str | None:
        entity = entity_of(self._view, context.principal_arn)
        sessions = self._view.rows(SESSIONS).by("id", context.access_key)
        session = sessions[0].value if sessions else None
        keys = {**keys_of(context, entity, session, given), **more}
        layers = self._layers(entity, session)
        refusals: list[str] = []
        for group in wanted:
            refusal = ""
            for resource in group:
                access = Access(action, resource, ("AWS", context.principal_arn), keys)
                decisions = [decide(access, layer.policies) for layer in layers]
                if "deny" in decisions:
                    layer = layers[decisions.index("deny")].name
                    words = f" with an explicit deny in {_a(layer)}"
                    return self._message(context, access, words, denied=True)
                if "none" in decisions and not refusal:
                    layer = layers[decisions.index("none")].name
                    words = f" because no {layer} allows the {action} action"
                    refusal = self._message(context, access, words, denied=False)
            refusals.append(refusal)
        return None if "" in refusals else refusals[0]

    def _layers(self, entity: Entity | None, session: Session | None) -> list[_Layer]:
        own = tuple(policies_of(self._view, entity)) if entity is not None else ()
        layers = [_Layer("identity-based policy", own)]
        if entity is not None and entity.boundary:
            found = policy_by_arn(self._view, entity.account, entity.boundary)
            version = found.version(found.default) if found else None
            bounds = (parse_policy(version.document),) if version else ()
            layers.append(_Layer("permissions boundary", bounds))
        if session is not None and session.policies:
            narrowed = tuple(parse_policy(document) for document in session.policies)
            layers.append(_Layer("session policy", narrowed))
        return layers

    def _message(self, context: Context, access: Access, words: str, *, denied: bool) -> str:
        text = (
            f"User: {context.principal_arn} is not authorized to perform: {access.action} on "
            f"resource: {access.resource}{words}"
        )
        if self._sealer is None or not access.action.startswith("ec2:"):
            return text
        said = {
            "allowed": False,
            "explicitDeny": denied,
            "matchedStatements": {"items": []},
            "failures": {"items": []},
            "context": {
                "principal": {"arn": context.principal_arn},
                "action": access.action,
                "resource": access.resource,
                "conditions": {"items": [
                    {"key": key, "values": {"items": [{"value": value} for value in values]}}
                    for key, values in sorted(access.context.items())
                ]},
            },
        }  # fmt: skip
        sealed = self._sealer.seal(orjson.dumps(said), _SEALED)
        encoded = base64.urlsafe_b64encode(sealed).decode()
        return f"{text}. Encoded authorization failure message: {encoded}"


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def opened_denial(sealer: Sealer, encoded: str) -> str:
    """The JSON that an encoded authorization message holds. Raises CannotOpen."""
    try:
        sealed = base64.urlsafe_b64decode(encoded.encode())
    except (binascii.Error, ValueError) as error:
        raise CannotOpen("not base64") from error
    return sealer.open(sealed, _SEALED).decode()
