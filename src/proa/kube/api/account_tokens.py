"""Secrets of type kubernetes.io/service-account-token: filled when they are written.

``writes`` calls ``AccountTokens.complete`` for every new or changed object. Kubernetes fills such
a Secret by a controller soon after; here its writer gets it back filled. A Secret whose service
account is not there yet is filled by the next write to it.
"""

from __future__ import annotations

import base64

import orjson

from proa.kube.api.authn import ACCOUNT_UID
from proa.kube.api.context import Api, Json
from proa.kube.api.tokens import TokenIssuer
from proa.kube.keys import object_key
from proa.kube.schema.kinds import Resource
from proa.kube.tables import CONFIG_MAPS, SERVICE_ACCOUNTS

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ROOT_CA = "kube-root-ca.crt"


class AccountTokens:
    """Of one cluster."""

    def __init__(self, api: Api, issuer: TokenIssuer) -> None:
        self._api, self._issuer = api, issuer

    def complete(self, resource: Resource, namespace: str, obj: Json) -> None:
        """Add what is missing of token, authority and namespace."""
        if resource.group_name != ("", "secrets") or obj.get("type") != TYPE:
            return
        annotations = obj["metadata"].setdefault("annotations", {})
        name = annotations.get(ACCOUNT_NAME, "")
        cluster, view = self._api.cluster.uid, self._api.view
        key = object_key(cluster, "", "serviceaccounts", namespace, name)
        account = view.rows(SERVICE_ACCOUNTS).get(key)
        if account is None:
            return
        uid = annotations[ACCOUNT_UID] = account.value.metadata.uid
        data = obj["data"] = obj.get("data") or {}
        if not data.get("token"):
            token = self._issuer.mint_for_secret(namespace, name, uid, obj["metadata"]["name"])
            data["token"] = _encoded(token)
        authority = view.rows(CONFIG_MAPS).get(
            object_key(cluster, "", "configmaps", namespace, ROOT_CA)
        )
        if authority is not None and not data.get("ca.crt"):
            text = (orjson.loads(authority.body).get("data") or {}).get("ca.crt", "")
            data["ca.crt"] = _encoded(text)
        data.setdefault("namespace", _encoded(namespace))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
