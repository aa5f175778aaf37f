"""Policies of roles and users: attached managed ones, and inline ones."""

from __future__ import annotations

from proa.aws.gateway.desk import Change, Desk, Handler, touched
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.iam.entities import found, replaced
from proa.aws.iam.shared import (
    MAX_ATTACHED,
    MAX_INLINE_BYTES,
    checked_identity,
    no_such,
    over_limit,
    page,
    shown_document,
)
from proa.cloud.identity import (
    MANAGED_PREFIX,
    POLICIES,
    policy_by_arn,
    policy_key,
)
from proa.store.api import Guard, Put


def _policy_guard(desk: Desk, context: Context, arn: str) -> tuple[Guard, Put] | None:
    """What makes a concurrent DeletePolicy decide again; None for AWS's own policies."""
    if arn.startswith(MANAGED_PREFIX):
        return None
    key = policy_key(context.account, arn.rpartition("/")[2])
    entry = desk.view.rows(POLICIES).get(key)
    return touched(entry) if entry is not None else None


def _attach(kind: str) -> Handler[Desk]:
    word = kind.capitalize()

    async def attach(desk: Desk, context: Context, given: Input) -> Output:
        arn = given["PolicyArn"]

        def decide() -> Change[Output]:
            entry = found(desk, context, kind, given[f"{word}Name"])
            if policy_by_arn(desk.view, context.account, arn) is None:
                raise no_such(f"Policy {arn} does not exist or is not attachable.")
            attached = entry.value.attached
            if arn in attached:
                return Change({})
            if len(attached) >= MAX_ATTACHED[kind]:
                quota = f"Cannot exceed quota for PoliciesPer{word}: {MAX_ATTACHED[kind]}"
                raise over_limit(quota)
            guard, put = replaced(entry, attached=(*attached, arn))
            policy = _policy_guard(desk, context, arn)
            if policy is None:
                return Change({}, (guard,), (put,))
            return Change({}, (guard, policy[0]), (put, policy[1]))

        return await desk.carry_out(decide)

    return attach


def _detach(kind: str) -> Handler[Desk]:
    async def detach(desk: Desk, context: Context, given: Input) -> Output:
        arn = given["PolicyArn"]

        def decide() -> Change[Output]:
            entry = found(desk, context, kind, given[f"{kind.capitalize()}Name"])
            if arn not in entry.value.attached:
                raise no_such(f"Policy {arn} was not found.")
            kept = tuple(item for item in entry.value.attached if item != arn)
            guard, put = replaced(entry, attached=kept)
            return Change({}, (guard,), (put,))

        return await desk.carry_out(decide)

    return detach


def _list_attached(kind: str) -> Handler[Desk]:
    async def list_attached(desk: Desk, context: Context, given: Input) -> Output:
        entity = found(desk, context, kind, given[f"{kind.capitalize()}Name"]).value
        prefix = given.get("PathPrefix", "/")
        arns = [arn for arn in entity.attached if arn.split(":policy", 1)[1].startswith(prefix)]
        arns.sort(key=_name)
        return page(
            arns, given, "AttachedPolicies", _name,
            lambda arn: {"PolicyName": _name(arn), "PolicyArn": arn},
        )  # fmt: skip

    return list_attached


def _name(arn: str) -> str:
    return arn.rpartition("/")[2]


def _put_inline(kind: str) -> Handler[Desk]:
    word = kind.capitalize()

    async def put_inline(desk: Desk, context: Context, given: Input) -> Output:
        document = checked_identity(given["PolicyDocument"])

        def decide() -> Change[Output]:
            entry = found(desk, context, kind, given[f"{word}Name"])
            inline = {**entry.value.inline, given["PolicyName"]: document}
            # IAM's quota counts characters without white space.
            size = sum(len("".join(text.split())) for text in inline.values())
            if size > MAX_INLINE_BYTES[kind]:
                raise over_limit(
                    f"Maximum policy size of {MAX_INLINE_BYTES[kind]} bytes exceeded for "
                    f"{kind} {entry.value.name}"
                )
            guard, put = replaced(entry, inline=inline)
            return Change({}, (guard,), (put,))

        return await desk.carry_out(decide)

    return put_inline


def _missing_inline(kind: str, name: str) -> AwsError:
    return no_such(f"The {kind} policy with name {name} cannot be found.")


def _get_inline(kind: str) -> Handler[Desk]:
    word = kind.capitalize()

    async def get_inline(desk: Desk, context: Context, given: Input) -> Output:
        entity = found(desk, context, kind, given[f"{word}Name"]).value
        document = entity.inline.get(given["PolicyName"])
        if document is None:
            raise _missing_inline(kind, given["PolicyName"])
        return {
            f"{word}Name": entity.name,
            "PolicyName": given["PolicyName"],
            "PolicyDocument": shown_document(document),
        }

    return get_inline


def _delete_inline(kind: str) -> Handler[Desk]:
    async def delete_inline(desk: Desk, context: Context, given: Input) -> Output:
        name = given["PolicyName"]

        def decide() -> Change[Output]:
            entry = found(desk, context, kind, given[f"{kind.capitalize()}Name"])
            if name not in entry.value.inline:
                raise _missing_inline(kind, name)
            kept = {key: text for key, text in entry.value.inline.items() if key != name}
            guard, put = replaced(entry, inline=kept)
            return Change({}, (guard,), (put,))

        return await desk.carry_out(decide)

    return delete_inline


def _list_inline(kind: str) -> Handler[Desk]:
    async def list_inline(desk: Desk, context: Context, given: Input) -> Output:
        entity = found(desk, context, kind, given[f"{kind.capitalize()}Name"]).value
        names = sorted(entity.inline)
        return page(names, given, "PolicyNames", lambda name: name, lambda name: name)

    return list_inline


def _boundary(kind: str, remove: bool) -> Handler[Desk]:
    async def change(desk: Desk, context: Context, given: Input) -> Output:
        def decide() -> Change[Output]:
            entry = found(desk, context, kind, given[f"{kind.capitalize()}Name"])
            arn = "" if remove else given["PermissionsBoundary"]
            if arn and policy_by_arn(desk.view, context.account, arn) is None:
                raise no_such(f"Scope ARN: {arn} does not exist or is not attachable.")
            guard, put = replaced(entry, boundary=arn)
            return Change({}, (guard,), (put,))

        return await desk.carry_out(decide)

    return change


def _operations(kind: str) -> dict[str, Handler[Desk]]:
    word = kind.capitalize()
    return {
        f"Attach{word}Policy": _attach(kind),
        f"Detach{word}Policy": _detach(kind),
        f"ListAttached{word}Policies": _list_attached(kind),
        f"Put{word}Policy": _put_inline(kind),
        f"Get{word}Policy": _get_inline(kind),
        f"Delete{word}Policy": _delete_inline(kind),
        f"List{word}Policies": _list_inline(kind),
    }


def _boundaries(kind: str) -> dict[str, Handler[Desk]]:
    word = kind.capitalize()
    return {
        f"Put{word}PermissionsBoundary": _boundary(kind, remove=False),
        f"Delete{word}PermissionsBoundary": _boundary(kind, remove=True),
    }


HANDLERS: dict[str, Handler[Desk]] = {
    **_operations("role"),
    **_operations("user"),
    **_operations("group"),
    **_boundaries("role"),
    **_boundaries("user"),
}
