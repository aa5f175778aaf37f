"""Access keys of users; the secret is shown once and stored sealed."""

from __future__ import annotations

import msgspec

from proa.aws.gateway.desk import Change, Desk, Handler, touched
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.iam.entities import found
from proa.aws.iam.shared import no_such, over_limit, page
from proa.cloud.identity import (
    ACCESS_KEYS,
    AccessKey,
    access_key_key,
    encode,
    entity_of,
    is_root,
    key_use_key,
    new_access_key,
)
from proa.cloud.key_uses import KeyUses
from proa.cloud.secrets import Sealer
from proa.reconcile.view import Entry
from proa.store.api import Delete, Guard, Put

MAX_KEYS = 2


def _user_name(desk: Desk, context: Context, given: Input) -> str:
    """The user meant: the named one, or the caller ("" for root)."""
    if "UserName" in given:
        return found(desk, context, "user", given["UserName"]).value.name
    if is_root(context.principal_arn):
        return ""
    caller = entity_of(desk.view, context.principal_arn)
    if caller is None or caller.kind != "user":
        raise AwsError("ValidationError", "Must specify userName when calling with non-User "
                       "credentials")  # fmt: skip
    return caller.name


def _keys_of(desk: Desk, context: Context, user: str) -> list[Entry[AccessKey]]:
    return desk.view.rows(ACCESS_KEYS).by("user", f"{context.account}/{user.lower()}")


def _shown(key: AccessKey, context: Context) -> Output:
    return {
        "UserName": key.user or context.account,
        "AccessKeyId": key.id,
        "Status": "Active" if key.active else "Inactive",
        "CreateDate": key.created_at,
    }


class Keys:
    """The operations that need the sealer."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    async def create(self, desk: Desk, context: Context, given: Input) -> Output:
        """CreateAccessKey: the only answer that holds the secret."""
        id, secret = new_access_key("AKIA", desk.chance)
        store_key = access_key_key(context.account, id)
        sealed = self._sealer.seal(secret.encode(), store_key)

        def decide() -> Change[Output]:
            user = _user_name(desk, context, given)
            if len(_keys_of(desk, context, user)) >= MAX_KEYS:
                raise over_limit(f"Cannot exceed quota for AccessKeysPerUser: {MAX_KEYS}")
            made = AccessKey(context.account, id, user, sealed, context.now)
            shown = {"AccessKey": _shown(made, context) | {"SecretAccessKey": secret}}
            put = Put(store_key, encode(made))
            if not user:
                return Change(shown, (Guard(store_key, 0),), (put,))
            seen, same = touched(found(desk, context, "user", user))
            return Change(shown, (Guard(store_key, 0), seen), (put, same))

        return await desk.carry_out(decide)


def _found_key(desk: Desk, context: Context, given: Input) -> Entry[AccessKey]:
    user = _user_name(desk, context, given)
    for entry in _keys_of(desk, context, user):
        if entry.value.id == given["AccessKeyId"]:
            return entry
    raise no_such(f"The Access Key with id {given['AccessKeyId']} cannot be found.")


async def list_keys(desk: Desk, context: Context, given: Input) -> Output:
    """ListAccessKeys."""
    keys = [entry.value for entry in _keys_of(desk, context, _user_name(desk, context, given))]
    keys.sort(key=lambda key: key.id)
    return page(
        keys, given, "AccessKeyMetadata", lambda key: key.id, lambda key: _shown(key, context)
    )


async def update_key(desk: Desk, context: Context, given: Input) -> Output:
    """UpdateAccessKey: Active or Inactive."""

    def decide() -> Change[Output]:
        entry = _found_key(desk, context, given)
        changed = msgspec.structs.replace(entry.value, active=given["Status"] == "Active")
        return Change({}, (Guard(entry.key, entry.version),), (Put(entry.key, encode(changed)),))

    return await desk.carry_out(decide)


async def delete_key(desk: Desk, context: Context, given: Input) -> Output:
    """DeleteAccessKey."""

    def decide() -> Change[Output]:
        entry = _found_key(desk, context, given)
        gone = (Delete(entry.key), Delete(key_use_key(context.account, entry.value.id)))
        return Change({}, (Guard(entry.key, entry.version),), gone)

    return await desk.carry_out(decide)


def _last_used(uses: KeyUses) -> Handler[Desk]:
    async def get_last_used(desk: Desk, context: Context, given: Input) -> Output:
        """GetAccessKeyLastUsed."""
        id = given["AccessKeyId"]
        for entry in desk.view.rows(ACCESS_KEYS).by("id", id):
            if entry.value.account == context.account:
                use = uses.of(desk.view, context.account, id)
                shown: Output = {"ServiceName": "N/A", "Region": "N/A"}
                if use is not None:
                    shown = {"ServiceName": use.service, "Region": use.region}
                    shown["LastUsedDate"] = use.at
                return {"UserName": entry.value.user or None, "AccessKeyLastUsed": shown}
        raise no_such(f"The Access Key with id {id} cannot be found.")

    return get_last_used


def handlers(sealer: Sealer, uses: KeyUses) -> dict[str, Handler[Desk]]:
    """The access key operations."""
    return {
        "GetAccessKeyLastUsed": _last_used(uses),
        "CreateAccessKey": Keys(sealer).create,
        "ListAccessKeys": list_keys,
        "UpdateAccessKey": update_key,
        "DeleteAccessKey": delete_key,
    }
