"""OpenID Connect providers: the issuers whose tokens an account's roles may be assumed with."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from proa.aws.gateway.desk import Change, Desk, Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.iam.shared import (
    exists,
    no_such,
    over_limit,
    page,
    tags_shown,
    with_tags,
    without_tags,
)
from proa.cloud.identity import PROVIDERS, OidcProvider, encode, provider_key
from proa.reconcile.view import Entry
from proa.store.api import Delete, Guard, Put

MAX_CLIENTS, MAX_THUMBPRINTS = 100, 5
_URL = re.compile(r"https://[^/?#\s@]+(/[^?#\s]*)?")


def found_provider(desk: Desk, arn: str) -> Entry[OidcProvider]:
    """The provider of an ARN; raises NoSuchEntity."""
    parts = arn.split(":", 5)
    if len(parts) == 6 and parts[5].startswith("oidc-provider/"):
        key = provider_key(parts[4], parts[5].partition("/")[2])
        entry = desk.view.rows(PROVIDERS).get(key)
        if entry is not None:
            return entry
    raise no_such(f"OpenIDConnect Provider not found for arn {arn}")


async def create(desk: Desk, context: Context, given: Input) -> Output:
    """CreateOpenIDConnectProvider."""
    if _URL.fullmatch(given["Url"]) is None:
        raise AwsError("ValidationError", "Invalid Open ID Connect Provider URL")
    url = given["Url"].removeprefix("https://").rstrip("/")
    clients, prints = tuple(given.get("ClientIDList", [])), tuple(given.get("ThumbprintList", []))
    if len(clients) > MAX_CLIENTS or len(prints) > MAX_THUMBPRINTS:
        raise over_limit("Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100")
    tags = with_tags({}, given.get("Tags", []))
    made = OidcProvider(context.account, url, context.now, clients, prints, tags)
    key = provider_key(context.account, url)

    def decide() -> Change[Output]:
        if desk.view.rows(PROVIDERS).get(key) is not None:
            raise exists(f"Provider with url {given['Url']} already exists.")
        shown = {"OpenIDConnectProviderArn": made.arn, "Tags": tags_shown(tags)}
        return Change(shown, (Guard(key, 0),), (Put(key, encode(made)),))

    return await desk.carry_out(decide)


async def get(desk: Desk, _context: Context, given: Input) -> Output:
    """GetOpenIDConnectProvider."""
    provider = found_provider(desk, given["OpenIDConnectProviderArn"]).value
    return {
        "Url": provider.url,
        "ClientIDList": list(provider.client_ids),
        "ThumbprintList": list(provider.thumbprints),
        "CreateDate": provider.created_at,
        "Tags": tags_shown(provider.tags),
    }


async def list_all(desk: Desk, context: Context, _given: Input) -> Output:
    """ListOpenIDConnectProviders."""
    entries = desk.view.rows(PROVIDERS).scan(provider_key(context.account, ""))
    return {"OpenIDConnectProviderList": [{"Arn": entry.value.arn} for entry in entries]}


async def delete(desk: Desk, _context: Context, given: Input) -> Output:
    """DeleteOpenIDConnectProvider: one that is gone already is no error."""

    def decide() -> Change[Output]:
        try:
            entry = found_provider(desk, given["OpenIDConnectProviderArn"])
        except AwsError:
            return Change({})
        return Change({}, (Guard(entry.key, entry.version),), (Delete(entry.key),))

    return await desk.carry_out(decide)


def _changer(change: Callable[[OidcProvider, Input], dict[str, Any]]) -> Handler[Desk]:
    async def carry_out(desk: Desk, _context: Context, given: Input) -> Output:
        def decide() -> Change[Output]:
            entry = found_provider(desk, given["OpenIDConnectProviderArn"])
            changed = msgspec.structs.replace(entry.value, **change(entry.value, given))
            put = Put(entry.key, encode(changed))
            return Change({}, (Guard(entry.key, entry.version),), (put,))

        return await desk.carry_out(decide)

    return carry_out


def _with_client(provider: OidcProvider, given: Input) -> dict[str, Any]:
    if given["ClientID"] in provider.client_ids:
        return {}
    if len(provider.client_ids) >= MAX_CLIENTS:
        raise over_limit("Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100")
    return {"client_ids": (*provider.client_ids, given["ClientID"])}


def _without_client(provider: OidcProvider, given: Input) -> dict[str, Any]:
    return {"client_ids": tuple(id for id in provider.client_ids if id != given["ClientID"])}


async def list_tags(desk: Desk, _context: Context, given: Input) -> Output:
    """ListOpenIDConnectProviderTags."""
    provider = found_provider(desk, given["OpenIDConnectProviderArn"]).value
    tags = sorted(tags_shown(provider.tags), key=lambda tag: tag["Key"])
    return page(tags, given, "Tags", lambda tag: tag["Key"], lambda tag: tag)


HANDLERS: dict[str, Handler[Desk]] = {
    "CreateOpenIDConnectProvider": create,
    "GetOpenIDConnectProvider": get,
    "ListOpenIDConnectProviders": list_all,
    "DeleteOpenIDConnectProvider": delete,
    "AddClientIDToOpenIDConnectProvider": _changer(_with_client),
    "RemoveClientIDFromOpenIDConnectProvider": _changer(_without_client),
    "UpdateOpenIDConnectProviderThumbprint": _changer(
        lambda _provider, given: {"thumbprints": tuple(given["ThumbprintList"])}
    ),
    "TagOpenIDConnectProvider": _changer(
        lambda provider, given: {"tags": with_tags(provider.tags, given["Tags"])}
    ),
    "UntagOpenIDConnectProvider": _changer(
        lambda provider, given: {"tags": without_tags(provider.tags, given["TagKeys"])}
    ),
    "ListOpenIDConnectProviderTags": list_tags,
}
