"""EKS' bearer tokens: a presigned GetCallerIdentity URL, verified, becomes a Kubernetes user.

Each cluster's API asks ``of(uid)`` about tokens it has not signed itself. Rules:
aws-iam-authenticator's README and its token form: ``k8s-aws-v1.`` and the URL in base64url
without padding; the cluster's name in the signed header ``x-k8s-aws-id``; good for 15 minutes
from the URL's date whatever its X-Amz-Expires says.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode
from urllib.parse import urlsplit

from proa.aws.eks.principals import Mapped, Principal, mapped
from proa.aws.eks.records import Cluster, cluster_of_uid
from proa.aws.sts.presigned import CLUSTER_HEADER, Caller, Presigned
from proa.base.errors import CallerFault
from proa.base.telemetry import get_logger
from proa.cloud import compute
from proa.kube.api.authn import ForeignTokens
from proa.kube.api.context import Grant, User
from proa.kube.keys import object_key
from proa.kube.tables import CONFIG_MAPS
from proa.server.core import Core

log = get_logger(__name__)
PREFIX = "k8s-aws-v1."
MAX_TOKEN = 16 * 1024
_STS = re.compile(r"sts(-fips)?(\.[a-z]{2}(-[a-z]+)+-\d)?\.amazonaws\.com(\.cn)?")
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


class EksTokens:
    """Knows the callers of every cluster."""

    def __init__(self, core: Core, presigned: Presigned) -> None:
        self._core, self._presigned = core, presigned

    def of(self, uid: str) -> ForeignTokens:
        """Who vouches for tokens of this cluster."""

        async def user_of(token: str) -> User | None:
            cluster = cluster_of_uid(self._core.view, uid)
            if cluster is None or not token.startswith(PREFIX):
                return None
            try:
                caller = self._caller(token, cluster)
            except CallerFault as fault:
                log.info("token refused", cluster=cluster.name, why=str(fault))
                return None
            return self._user(cluster, caller)

        return user_of

    def _caller(self, token: str, cluster: Cluster) -> Caller:
        if len(token) > MAX_TOKEN:
            raise CallerFault("the token is too long")
        text = token.removeprefix(PREFIX)
        try:
            url = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            host = urlsplit(url).netloc
        except (binascii.Error, ValueError) as error:
            raise CallerFault("the token holds no URL") from error
        if not self._is_ours(host):
            raise CallerFault(f"the URL is for {host!r}, which is no STS endpoint")
        headers = {CLUSTER_HEADER: cluster.name}
        return self._presigned.verify(url, headers, self._core.clock.now())

    def _is_ours(self, host: str) -> bool:
        """STS' own names, and those of this gateway."""
        config = self._core.config
        gateway = {f"{name}:{config.aws_port}" for name in (*_LOCAL, config.listen)}
        return _STS.fullmatch(host) is not None or host in gateway

    def _user(self, cluster: Cluster, caller: Caller) -> User | None:
        principal = Principal(
            caller.account,
            caller.arn,
            caller.canonical_arn,
            caller.user_id,
            caller.access_key,
            caller.session_name,
        )
        found = mapped(
            self._core.view,
            cluster,
            principal,
            self._aws_auth(cluster),
            lambda instance: self._node_name(cluster, instance),
        )
        if found is None:
            log.info("nobody to the cluster", cluster=cluster.name, arn=caller.arn)
            return None
        return _as_user(found, principal)

    def _aws_auth(self, cluster: Cluster) -> dict[str, str]:
        key = object_key(cluster.uid, "", "configmaps", "kube-system", "aws-auth")
        entry = self._core.view.rows(CONFIG_MAPS).get(key)
        return dict(entry.value.data) if entry is not None else {}

    def _node_name(self, cluster: Cluster, instance: str) -> str:
        found = compute.instance_of(self._core.view, instance)
        return found.name if found and found.cluster == f"/kube/{cluster.uid}/" else ""


def _as_user(found: Mapped, principal: Principal) -> User:
    """With the extra fields that the authenticator gives."""
    extra: dict[str, tuple[str, ...]] = {
        "accessKeyId": (principal.access_key,),
        "arn": (principal.arn,),
        "canonicalArn": (principal.canonical,),
        "principalId": (principal.user_id.partition(":")[0],),
        "sessionName": (principal.session,),
    }
    return User(
        found.username,
        found.groups,
        f"aws-iam-authenticator:{principal.account}:{principal.user_id.partition(':')[0]}",
        extra,
        tuple(Grant(grant.role, grant.namespaces) for grant in found.grants),
    )
