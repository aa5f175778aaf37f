"""The STS slice: who am I, and temporary credentials.

AssumeRole needs the role's trust policy to let the caller in; a caller that the trust policy
does not name itself (but its account) also needs its own policies to allow it. Root may assume
roles here, which AWS refuses, because a local user of Proa has no other identity at first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proa.aws.gateway.desk import Desk, Handler, bound
from proa.aws.gateway.service import AwsError, Context, Input, Output, Service
from proa.aws.iam.authorize import Authority, opened_denial
from proa.aws.sts.sessions import Grant, Issued, Sessions, role_by_arn, role_grant
from proa.aws.sts.web_identity import IssuerKeys, NoIssuers, WebIdentities
from proa.cloud.identity import (
    ACCESS_KEYS,
    SESSIONS,
    TABLES,
    Entity,
    entity_of,
    is_root,
    policy_by_arn,
    user_id_of,
)
from proa.cloud.policy import (
    Access,
    MalformedPolicy,
    check_identity_policy,
    decide,
    parse_policy,
    role_of_session,
)
from proa.cloud.secrets import CannotOpen, Sealer
from proa.reconcile.view import Table

__all__ = ["TABLES", "build"]
CHAINED_MAX_S = 3600
DEFAULT_ROLE_S = 3600
DEFAULT_TOKEN_S, ROOT_TOKEN_MAX_S = 43_200, 3600


def _shown(issued: Issued) -> Output:
    return {
        "AccessKeyId": issued.access_key,
        "SecretAccessKey": issued.secret,
        "SessionToken": issued.token,
        "Expiration": issued.expires_at,
    }


async def get_caller_identity(desk: Desk, context: Context, _given: Input) -> Output:
    """GetCallerIdentity."""
    user_id = user_id_of(desk.view, context.account, context.principal_arn, context.access_key)
    return {"UserId": user_id, "Account": context.account, "Arn": context.principal_arn}


class Tokens:
    """The operations that make sessions."""

    def __init__(self, sessions: Sessions, authority: Authority, issuers: IssuerKeys) -> None:
        self._sessions, self._authority = sessions, authority
        self._web = WebIdentities(issuers)

    async def assume_role(self, desk: Desk, context: Context, given: Input) -> Output:
        """AssumeRole."""
        role = role_by_arn(desk, given["RoleArn"])
        if role is None or not self._may_assume(context, role, given):
            raise AwsError(
                "AccessDenied",
                f"User: {context.principal_arn} is not authorized to perform: sts:AssumeRole on "
                f"resource: {given['RoleArn']}",
                403,
            )
        duration_s = given.get("DurationSeconds", DEFAULT_ROLE_S)
        _check_duration(context, role, duration_s)
        grant = role_grant(role, given["RoleSessionName"], duration_s)
        tags = tuple((tag["Key"], tag["Value"]) for tag in given.get("Tags", []))
        policies = _session_policies(desk, context.account, given)
        grant = replace(grant, policies=policies, tags=tags)
        issued = await self._sessions.issue(grant, context.now)
        user = {"AssumedRoleId": issued.entity_id, "Arn": issued.principal_arn}
        return {"Credentials": _shown(issued), "AssumedRoleUser": user}

    async def assume_role_with_web_identity(
        self, desk: Desk, context: Context, given: Input
    ) -> Output:
        """AssumeRoleWithWebIdentity: nobody signs the call, the token says who it is."""
        account = given["RoleArn"].split(":")[4] if given["RoleArn"].count(":") == 5 else ""
        web = await self._web.verify(desk, account, given["WebIdentityToken"], context.now)
        role = role_by_arn(desk, given["RoleArn"])
        keys = {**web.keys, "sts:rolesessionname": (given["RoleSessionName"],)}
        principal = ("Federated", web.provider.arn)
        access = Access("sts:AssumeRoleWithWebIdentity", given["RoleArn"], principal, keys)
        if role is None or decide(access, [parse_policy(role.trust)]) != "allow":
            message = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
            raise AwsError("AccessDenied", message, 403)
        duration_s = given.get("DurationSeconds", DEFAULT_ROLE_S)
        _check_duration(context, role, duration_s)
        policies = _session_policies(desk, role.account, given)
        grant = role_grant(role, given["RoleSessionName"], duration_s)
        issued = await self._sessions.issue(replace(grant, policies=policies), context.now)
        return {
            "Credentials": _shown(issued),
            "SubjectFromWebIdentityToken": web.subject,
            "AssumedRoleUser": {"AssumedRoleId": issued.entity_id, "Arn": issued.principal_arn},
            "Provider": web.provider.arn,
            "Audience": web.audience,
        }

    def _may_assume(self, context: Context, role: Entity, given: Input) -> bool:
        trust = parse_policy(role.trust)
        keys = {
            "aws:principalarn": (role_of_session(context.principal_arn) or context.principal_arn,),
            "aws:principalaccount": (context.account,),
            "sts:rolesessionname": (given["RoleSessionName"],),
        }
        if "ExternalId" in given:
            keys["sts:externalid"] = (given["ExternalId"],)
        access = Access("sts:AssumeRole", role.arn, ("AWS", context.principal_arn), keys)
        if decide(access, [trust]) != "allow":
            return False
        named = (context.principal_arn, role_of_session(context.principal_arn))
        directly = any(
            name in named
            for statement in trust
            if statement.effect == "Allow" and statement.principals
            for name in statement.principals.get("AWS", ())
        )
        if is_root(context.principal_arn) or (directly and context.account == role.account):
            return True
        return self._authority.denial(context, "sts:AssumeRole", given) is None

    async def get_session_token(self, desk: Desk, context: Context, given: Input) -> Output:
        """GetSessionToken: for long-term keys only."""
        if desk.view.rows(SESSIONS).by("id", context.access_key):
            message = "Cannot call GetSessionToken with session credentials"
            raise AwsError("AccessDenied", message, 403)
        entity = entity_of(desk.view, context.principal_arn)
        duration_s = given.get("DurationSeconds", DEFAULT_TOKEN_S)
        if entity is None:
            duration_s = min(duration_s, ROOT_TOKEN_MAX_S)
        grant = Grant(
            context.account, context.principal_arn, entity.id if entity else context.account,
            duration_s,
        )  # fmt: skip
        return {"Credentials": _shown(await self._sessions.issue(grant, context.now))}


def _check_duration(context: Context, role: Entity, duration_s: int) -> None:
    if duration_s > role.max_session_s:
        message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise AwsError("ValidationError", message)
    if role_of_session(context.principal_arn) and duration_s > CHAINED_MAX_S:
        message = (
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by "
            "role chaining"
        )
        raise AwsError("ValidationError", message)


def _session_policies(desk: Desk, account: str, given: Input) -> tuple[str, ...]:
    documents = [given["Policy"]] if "Policy" in given else []
    for item in given.get("PolicyArns", []):
        policy = policy_by_arn(desk.view, account, item.get("arn", ""))
        version = policy.version(policy.default) if policy else None
        if version is None:
            raise AwsError("NoSuchEntity", f"Policy {item.get('arn')} was not found.", 404)
        documents.append(version.document)
    for document in documents:
        try:
            check_identity_policy(document)
        except MalformedPolicy as error:
            raise AwsError("MalformedPolicyDocument", str(error)) from error
    return tuple(documents)


async def get_access_key_info(desk: Desk, _context: Context, given: Input) -> Output:
    """GetAccessKeyInfo: whose account a key belongs to."""
    id = given["AccessKeyId"]
    tables: tuple[Table[Any], ...] = (SESSIONS, ACCESS_KEYS)
    for table in tables:
        for entry in desk.view.rows(table).by("id", id):
            return {"Account": entry.value.account}
    raise AwsError("ValidationError", f"Invalid access key id: {id}")


def _decoder(sealer: Sealer) -> Handler[Desk]:
    async def decode(_desk: Desk, _context: Context, given: Input) -> Output:
        """DecodeAuthorizationMessage: what a refusal of EC2's carries."""
        try:
            return {"DecodedMessage": opened_denial(sealer, given["EncodedMessage"])}
        except CannotOpen as error:
            message = "Message is not valid"
            raise AwsError("InvalidAuthorizationMessageException", message) from error

    return decode


def build(desk: Desk, sealer: Sealer, issuers: IssuerKeys | None = None) -> Service:
    """Every operation, bound to what it works on."""
    sessions = Sessions(desk, sealer)
    tokens = Tokens(sessions, Authority(desk.view), issuers or NoIssuers())
    handlers: dict[str, Handler[Desk]] = {
        "GetCallerIdentity": get_caller_identity,
        "AssumeRole": tokens.assume_role,
        "AssumeRoleWithWebIdentity": tokens.assume_role_with_web_identity,
        "GetSessionToken": tokens.get_session_token,
        "GetAccessKeyInfo": get_access_key_info,
        "DecodeAuthorizationMessage": _decoder(sealer),
    }
    return Service("sts", bound(desk, handlers), frozenset({"AssumeRoleWithWebIdentity"}))
