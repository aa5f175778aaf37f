"""Sessions: temporary credentials of roles and users, stored sealed until they expire.

``Sessions.issue`` is how every temporary credential is made; ``assume_for_service`` is for
Proa's own services, which assume a role on behalf of a task as ``ecs-tasks.amazonaws.com``.
Expired sessions are removed in passing when new ones are made.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from itertools import islice

import orjson

from proa.aws.gateway.desk import Change, Desk
from proa.aws.gateway.service import AwsError
from proa.cloud.identity import (
    ROLES,
    SESSIONS,
    Entity,
    Session,
    encode,
    entity_key,
    new_access_key,
    session_key,
)
from proa.cloud.policy import Access, decide, parse_policy
from proa.cloud.secrets import Sealer
from proa.store.api import Delete, Exists, Guard, Put

SWEEP_LOOKS, SWEEP_MOST = 100, 20
_TOKEN_HEAD = "IQoJb3JpZ2luX2Vj"  # how AWS's own tokens begin
_TOKEN_BYTES = 96


@dataclass(slots=True, frozen=True)
class Issued:
    """Temporary credentials as they are handed out; ``expires_at`` in wall seconds."""

    access_key: str
    secret: str
    token: str
    expires_at: float
    principal_arn: str
    entity_id: str


@dataclass(slots=True, frozen=True)
class Grant:
    """For whom a session is: ``principal`` its ARN, ``owner`` the store key that must exist."""

    account: str
    principal: str
    entity_id: str
    duration_s: int
    owner: str = ""
    policies: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()


def role_grant(role: Entity, session_name: str, duration_s: int) -> Grant:
    """The grant of a session of a role."""
    return Grant(
        role.account,
        f"arn:aws:sts::{role.account}:assumed-role/{role.name}/{session_name}",
        f"{role.id}:{session_name}",
        duration_s,
        entity_key(role.account, "role", role.name),
    )


class Sessions:
    """Makes sessions."""

    def __init__(self, desk: Desk, sealer: Sealer) -> None:
        self._desk, self._sealer = desk, sealer

    async def issue(self, grant: Grant, now: float) -> Issued:
        """Credentials for a grant, from ``now`` on."""
        id, secret = new_access_key("ASIA", self._desk.chance)
        random = base64.b64encode(self._desk.chance.token(_TOKEN_BYTES)).decode()
        token = _TOKEN_HEAD + random
        key = session_key(grant.account, id)
        session = Session(
            grant.account, id, grant.principal, grant.entity_id,
            self._sealer.seal(orjson.dumps([secret, token]), key), now, now + grant.duration_s,
            grant.policies, dict(grant.tags),
        )  # fmt: skip
        issued = Issued(id, secret, token, session.expires_at, grant.principal, grant.entity_id)

        def decide_write() -> Change[Issued]:
            guards: tuple[Guard | Exists, ...] = (Guard(key, 0),)
            if grant.owner:
                guards = (*guards, Exists(grant.owner))
            return Change(issued, guards, (Put(key, encode(session)), *self._expired(key, now)))

        return await self._desk.carry_out(decide_write)

    def _expired(self, key: str, now: float) -> list[Delete]:
        """Deletes of some expired sessions. Ids are random, so looking from the new one's place
        on reaches every session in time."""
        rows = self._desk.view.rows(SESSIONS)
        looked = islice(rows.scan(key.rpartition("/")[0] + "/", after=key), SWEEP_LOOKS)
        gone = (entry.key for entry in looked if entry.value.expires_at <= now)
        return [Delete(old) for old in islice(gone, SWEEP_MOST)]

    async def assume_for_service(
        self, role_arn: str, service: str, session_name: str, duration_s: int, now: float
    ) -> Issued:
        """A session of a role for one of AWS's services (``ecs-tasks.amazonaws.com``), if the
        role's trust policy lets that service in. Raises AwsError AccessDenied."""
        role = role_by_arn(self._desk, role_arn)
        access = Access("sts:AssumeRole", role_arn, ("Service", service))
        if role is None or decide(access, [parse_policy(role.trust)]) != "allow":
            raise AwsError(
                "AccessDenied",
                f"{service} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
                403,
            )
        return await self.issue(role_grant(role, session_name, duration_s), now)


def role_by_arn(desk: Desk, arn: str) -> Entity | None:
    """The role of an ARN, path included."""
    parts = arn.split(":", 5)
    if len(parts) != 6 or not parts[5].startswith("role/"):
        return None
    key = entity_key(parts[4], "role", arn.rpartition("/")[2])
    entry = desk.view.rows(ROLES).get(key)
    return entry.value if entry is not None and entry.value.arn == arn else None
