"""Tokens of service accounts: in Secrets that hold them, and bound to Secrets and Nodes."""

from __future__ import annotations

import base64

from proa.base.http import Request
from tests.unit.kube.api.served import DEFAULT, Client, Json, said, serving

SECRETS = f"{DEFAULT}/secrets"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
TOKENS = f"{DEFAULT}/serviceaccounts/default/token"


def secret(account: str = "default", kind: str = "kubernetes.io/service-account-token") -> Json:
    notes = {"kubernetes.io/service-account.name": account} if account else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "held", "annotations": notes},
        "type": kind,
    }


async def asking(client: Client, token: str) -> tuple[int, str]:
    """(status, user name) of who shows a token."""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    body = b'{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}'
    answer = await client.api.handle(Request("POST", WHO, (), headers, body))
    named = said(answer).get("status")
    return answer.status, named["userInfo"]["username"] if isinstance(named, dict) else ""


def test_a_secret_for_a_token_is_filled_and_its_token_lasts_as_long_as_it() -> None:
    async def check(client: Client) -> None:
        made = await client.make(SECRETS, secret())
        assert base64.b64decode(made["data"]["namespace"]) == b"default"
        token = base64.b64decode(made["data"]["token"]).decode()
        assert await asking(client, token) == (201, "system:serviceaccount:default:default")
        await client.ask("DELETE", f"{SECRETS}/held")
        assert (await asking(client, token))[0] == 401
        await client.make(SECRETS, secret(kind="Opaque"))
        assert (await asking(client, token))[0] == 401

    serving(check)


def test_a_secret_for_a_token_names_its_account() -> None:
    async def check(client: Client) -> None:
        answer = await client.ask("POST", SECRETS, secret(account=""))
        assert answer.status == 422
        assert (
            "metadata.annotations[kubernetes.io/service-account.name]: Required"
            in said(answer)["message"]
        )
        made = await client.make(SECRETS, secret(account="later"))
        assert not made.get("data")

    serving(check)


def test_a_requested_token_may_be_bound_to_a_secret() -> None:
    async def check(client: Client) -> None:
        made = await client.make(SECRETS, secret(account="", kind="Opaque"))
        bound = {"kind": "Secret", "apiVersion": "v1", "name": "held"}
        body = {"spec": {"boundObjectRef": bound}}
        answer = await client.ask("POST", TOKENS, body)
        assert answer.status == 201, answer.body
        token = said(answer)["status"]["token"]
        assert (await asking(client, token))[0] == 201
        wrong = {"spec": {"boundObjectRef": {**bound, "uid": "other"}}}
        assert (await client.ask("POST", TOKENS, wrong)).status == 409
        assert made["metadata"]["uid"]
        await client.ask("DELETE", f"{SECRETS}/held")
        assert (await asking(client, token))[0] == 401
        assert (await client.ask("POST", TOKENS, body)).status == 404

    serving(check)


def test_a_token_falls_for_good_when_its_secret_is_made_anew_under_its_name() -> None:
    async def check(client: Client) -> None:
        leaked = base64.b64decode((await client.make(SECRETS, secret()))["data"]["token"]).decode()
        await client.ask("DELETE", f"{SECRETS}/held")
        fresh = base64.b64decode((await client.make(SECRETS, secret()))["data"]["token"]).decode()
        assert (await asking(client, leaked))[0] == 401
        assert (await asking(client, fresh))[0] == 201

    serving(check)
