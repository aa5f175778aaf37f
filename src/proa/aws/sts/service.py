"""The STS slice: who am I, and temporary credentials.

AssumeRole needs the role's trust policy to let the caller in; a caller that the trust policy
does not name itself (but its account) also needs its own policies to allow it. Root may assume
roles here, which AWS refuses, because a local user of Proa has no other identity at first.
"""

from __future__ import annotations

from proa.aws.gateway.desk import Desk, Handler, bound
from proa.aws.gateway.service import AwsError, Context, Input, Output, Service
from proa.aws.iam.authorize import Authority
from proa.aws.sts.sessions import Grant, Issued, Sessions, role_by_arn, role_grant
from proa.cloud.identity import (
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
from proa.cloud.secrets import Sealer

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

    def __init__(self, sessions: Sessions, authority: Authority) -> None:
        self._sessions, self._authority = sessions, authority

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
        policies = _session_policies(desk, context, given)
        grant = Grant(
            grant.account, grant.principal, grant.entity_id, duration_s, grant.owner, policies,
            tags,
        )  # fmt: skip
        issued = await self._sessions.issue(grant, context.now)
        user = {"AssumedRoleId": issued.entity_id, "Arn": issued.principal_arn}
        return {"Credentials": _shown(issued), "AssumedRoleUser": user}

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


def _session_policies(desk: Desk, context: Context, given: Input) -> tuple[str, ...]:
    documents = [given["Policy"]] if "Policy" in given else []
    for item in given.get("PolicyArns", []):
        policy = policy_by_arn(desk.view, context.account, item.get("arn", ""))
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


def build(desk: Desk, sealer: Sealer) -> Service:
    """Every operation, bound to what it works on."""
    tokens = Tokens(Sessions(desk, sealer), Authority(desk.view))
    handlers: dict[str, Handler[Desk]] = {
        "GetCallerIdentity": get_caller_identity,
        "AssumeRole": tokens.assume_role,
        "GetSessionToken": tokens.get_session_token,
    }
    return Service("sts", bound(desk, handlers))
