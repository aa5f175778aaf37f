"""Authorisation: whether a caller's policies allow an action.

``Authority`` is the gateway's ``Authorizer``. Root may do everything; a user or role needs an
allow in its policies, within its permissions boundary and its session's policies, and no deny
in any. The resources of a call are the ARNs among its input's top-level members, and those that
``resources.json`` makes of names; a call that names none is for ``*``. A call on several
resources passes when one of them is allowed and none denied: AWS's per-operation resource lists
are in no public model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources

import orjson

from proa.aws.gateway.service import Context, Input
from proa.base.clock import iso8601
from proa.cloud.identity import (
    SESSIONS,
    Entity,
    Session,
    entity_of,
    is_root,
    policies_of,
    policy_by_arn,
)
from proa.cloud.policy import Access, Policy, decide, parse_policy
from proa.reconcile.view import View

# What every caller may do, whatever the policies say (STS API reference); AssumeRole asks the
# role's trust policy and decides by itself.
ALWAYS = frozenset({"sts:GetCallerIdentity", "sts:GetSessionToken", "sts:AssumeRole"})


@cache
def _templates() -> Mapping[str, Mapping[str, str]]:
    file = resources.files("proa.aws.iam") / "resources.json"
    templates: Mapping[str, Mapping[str, str]] = orjson.loads(file.read_bytes())
    return templates


def resources_of(context: Context, action: str, given: Input) -> list[str]:
    """The ARNs a call is about, or ``["*"]``."""
    templates = _templates().get(action.partition(":")[0], {})
    found: dict[str, None] = {}
    for name, value in given.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text.startswith("arn:"):
                found[text] = None
            elif isinstance(text, str) and name in templates:
                names = {"cluster": "default", **given}
                arn = templates[name].format_map(
                    _Names(names, region=context.region, account=context.account, value=text)
                )
                found[arn.replace(":parameter//", ":parameter/")] = None
    return list(found) or ["*"]


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
    }
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


class Authority:
    """Decides calls over the identities in the view."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __call__(self, context: Context, action: str, given: Input) -> str | None:
        """The denial's message, or None when the call is allowed."""
        if is_root(context.principal_arn) or action in ALWAYS:
            return None
        return self.denial(context, action, given)

    def denial(self, context: Context, action: str, given: Input) -> str | None:
        """Like a call, but for every caller and action alike (AssumeRole asks it)."""
        entity = entity_of(self._view, context.principal_arn)
        sessions = self._view.rows(SESSIONS).by("id", context.access_key)
        session = sessions[0].value if sessions else None
        keys = keys_of(context, entity, session, given)
        layers = self._layers(entity, session)
        resources = resources_of(context, action, given)
        allowed = False
        for resource in resources:
            access = Access(action, resource, ("AWS", context.principal_arn), keys)
            decisions = [decide(access, layer) for layer in layers]
            if "deny" in decisions:
                return _message(context, action, resource, explicit=True)
            allowed = allowed or all(decision == "allow" for decision in decisions)
        return None if allowed else _message(context, action, resources[0], explicit=False)

    def _layers(self, entity: Entity | None, session: Session | None) -> list[list[Policy]]:
        """Each must allow: the identity's policies, its boundary, the session's policies."""
        layers = [list(policies_of(self._view, entity)) if entity is not None else []]
        if entity is not None and entity.boundary:
            found = policy_by_arn(self._view, entity.account, entity.boundary)
            version = found.version(found.default) if found else None
            layers.append([parse_policy(version.document)] if version else [])
        if session is not None and session.policies:
            layers.append([parse_policy(document) for document in session.policies])
        return layers


def _message(context: Context, action: str, resource: str, *, explicit: bool) -> str:
    head = f"User: {context.principal_arn} is not authorized to perform: {action} on resource: "
    if explicit:
        return f"{head}{resource} with an explicit deny in an identity-based policy"
    return f"{head}{resource} because no identity-based policy allows the {action} action"
