"""Identities: users, roles, policies, access keys and sessions, as records of an account.

Keys lie under ``/aws/<account>/global/iam/``; names are unique regardless of case, so a key
holds the lower-case name. ``Identities`` answers who an access key stands for and which policies
hold for a caller; writes are the iam and sts slices'. Secrets are stored sealed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any, TypeVar

import msgspec
import orjson

from proa.base.chance import Chance
from proa.cloud.aws_table import aws_table
from proa.cloud.policy import Policy, parse_policy, role_of_session
from proa.cloud.secrets import CannotOpen, Sealer
from proa.reconcile.view import Table, View
from proa.store.api import Guard, GuardFailed, Put, Store, Transaction

R = TypeVar("R", bound=msgspec.Struct)
_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_ID_LENGTH = 16
OPENED = 512  # secrets that are kept open
MANAGED_PREFIX = "arn:aws:iam::aws:policy"
encode = msgspec.json.Encoder().encode


class Entity(msgspec.Struct, frozen=True, omit_defaults=True):
    """A role, user or group. ``trust`` and ``inline`` hold documents as they were given;
    ``attached`` are policy ARNs in the order of attachment; ``boundary`` a policy ARN; ``groups``
    the names of the groups that a user is in."""

    account: str
    kind: str  # "role", "user" or "group"
    name: str
    path: str
    id: str
    created_at: float
    trust: str = ""
    description: str = ""
    max_session_s: int = 3600
    boundary: str = ""
    tags: dict[str, str] = {}
    attached: tuple[str, ...] = ()
    inline: dict[str, str] = {}
    groups: tuple[str, ...] = ()

    @property
    def arn(self) -> str:
        """The entity's ARN."""
        return f"arn:aws:iam::{self.account}:{self.kind}{self.path}{self.name}"


class PolicyVersion(msgspec.Struct, frozen=True):
    """One version of a managed policy; ``id`` is ``v1``, ``v2`` …"""

    id: str
    document: str
    created_at: float


class ManagedPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """A managed policy, the account's or (with account ``aws``) AWS's own."""

    account: str
    name: str
    path: str
    id: str
    created_at: float
    updated_at: float
    versions: tuple[PolicyVersion, ...]
    default: str = "v1"
    next_version: int = 2
    description: str = ""
    tags: dict[str, str] = {}

    @property
    def arn(self) -> str:
        """The policy's ARN."""
        return f"arn:aws:iam::{self.account}:policy{self.path}{self.name}"

    def version(self, id: str) -> PolicyVersion | None:
        """A version by its id."""
        return next((version for version in self.versions if version.id == id), None)


class InstanceProfile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What hands a role to an instance; ``roles`` are role names, at most one."""

    account: str
    name: str
    path: str
    id: str
    created_at: float
    roles: tuple[str, ...] = ()
    tags: dict[str, str] = {}

    @property
    def arn(self) -> str:
        """The profile's ARN."""
        return f"arn:aws:iam::{self.account}:instance-profile{self.path}{self.name}"


class AccessKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """A long-term key of a user, or of the account's root user (``user`` empty)."""

    account: str
    id: str
    user: str
    sealed_secret: bytes
    created_at: float
    active: bool = True


class OidcProvider(msgspec.Struct, frozen=True, omit_defaults=True):
    """An OpenID Connect issuer that an account trusts. ``url`` is without its scheme."""

    account: str
    url: str
    created_at: float
    client_ids: tuple[str, ...] = ()
    thumbprints: tuple[str, ...] = ()
    tags: dict[str, str] = {}

    @property
    def arn(self) -> str:
        """The provider's ARN."""
        return f"arn:aws:iam::{self.account}:oidc-provider/{self.url}"


class KeyUse(msgspec.Struct, frozen=True):
    """When an access key was last used, where, and for which service."""

    at: float
    service: str
    region: str


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """Temporary credentials. ``principal`` is the session's ARN (or its user's, for
    GetSessionToken), ``entity_id`` what GetCallerIdentity calls the user id. ``sealed`` holds
    the secret and the session token. ``policies`` are session policies that only narrow."""

    account: str
    id: str
    principal: str
    entity_id: str
    sealed: bytes
    created_at: float
    expires_at: float
    policies: tuple[str, ...] = ()
    tags: dict[str, str] = {}


@dataclass(slots=True, frozen=True)
class Credential:
    """What an access key stands for. ``expires_at`` is wall seconds, 0 for long-term keys;
    ``session_token`` is empty for those."""

    access_key: str
    secret: str
    account: str
    principal_arn: str
    session_token: str = ""
    expires_at: float = 0.0


def _prefix(account: str, kind: str) -> str:
    return f"/aws/{account}/global/iam/{kind}/"


def entity_key(account: str, kind: str, name: str) -> str:
    """The key of a role (``kind`` "role"), user or group."""
    return _prefix(account, kind + "s") + name.lower()


def policy_key(account: str, name: str) -> str:
    """The key of an account's own managed policy."""
    return _prefix(account, "policies") + name.lower()


def profile_key(account: str, name: str) -> str:
    """The key of an instance profile."""
    return _prefix(account, "instance-profiles") + name.lower()


def provider_key(account: str, url: str) -> str:
    """The key of an OpenID Connect provider, whose URL is without its scheme."""
    return _prefix(account, "oidc-providers") + url.lower()


def key_use_key(account: str, id: str) -> str:
    """The key of the note when an access key was last used."""
    return _prefix(account, "key-uses") + id


def access_key_key(account: str, id: str) -> str:
    """The key of an access key's record."""
    return _prefix(account, "access-keys") + id


def session_key(account: str, id: str) -> str:
    """The key of a session's record."""
    return _prefix(account, "sessions") + id


def _table(
    name: str, type_: type[R], indexes: Mapping[str, Callable[[str, R], tuple[str, ...]]]
) -> Table[R]:
    decoder = msgspec.json.Decoder(type_)
    return aws_table(f"iam.{name}", ("iam", name), decoder.decode, indexes)


_by_policy: Mapping[str, Callable[[str, Entity], tuple[str, ...]]] = {
    "policy": lambda _key, entity: (*entity.attached, *filter(None, (entity.boundary,))),
}
ROLES: Table[Entity] = _table("roles", Entity, _by_policy)
USERS: Table[Entity] = _table(
    "users",
    Entity,
    {
        **_by_policy,
        "group": lambda _key, user: tuple(f"{user.account}/{g.lower()}" for g in user.groups),
    },
)
GROUPS: Table[Entity] = _table("groups", Entity, _by_policy)
PROVIDERS: Table[OidcProvider] = _table("oidc-providers", OidcProvider, {})
KEY_USES: Table[KeyUse] = _table("key-uses", KeyUse, {})
POLICIES: Table[ManagedPolicy] = _table("policies", ManagedPolicy, {})
PROFILES: Table[InstanceProfile] = _table(
    "instance-profiles",
    InstanceProfile,
    {"role": lambda _key, profile: tuple(f"{profile.account}/{r}" for r in profile.roles)},
)
ACCESS_KEYS: Table[AccessKey] = _table(
    "access-keys",
    AccessKey,
    {
        "id": lambda _key, key: (key.id,),
        "user": lambda _key, key: (f"{key.account}/{key.user.lower()}",),
    },
)
SESSIONS: Table[Session] = _table("sessions", Session, {"id": lambda _key, s: (s.id,)})
TABLES: tuple[Table[Any], ...] = (
    ROLES,
    USERS,
    GROUPS,
    POLICIES,
    PROFILES,
    PROVIDERS,
    ACCESS_KEYS,
    KEY_USES,
    SESSIONS,
)


def unique_id(prefix: str, chance: Chance, length: int = _ID_LENGTH + 1) -> str:
    """An IAM id: AROA…, AIDA…, ANPA…, AIPA… (21 characters); AKIA… and ASIA… have 20."""
    return prefix + "".join(chance.choice(_ID_LETTERS) for _ in range(length))


def _id_of(prefix: str, name: str) -> str:
    """An id that follows from a name, for what is the same in every account."""
    digest = hashlib.sha256(name.encode()).digest()
    return prefix + base64.b32encode(digest).decode()[: _ID_LENGTH + 1]


def new_access_key(prefix: str, chance: Chance) -> tuple[str, str]:
    """An access key id and its secret (40 characters)."""
    secret = base64.b64encode(chance.token(30)).decode()
    return unique_id(prefix, chance, _ID_LENGTH), secret


@cache
def aws_managed() -> Mapping[str, ManagedPolicy]:
    """AWS's own managed policies that Proa knows, by ARN, in the order of their names."""
    file = resources.files("proa.cloud") / "managed_policies.json"
    found = {}
    for name, entry in sorted(orjson.loads(file.read_bytes()).items()):
        version = PolicyVersion(
            entry["version"], orjson.dumps(entry["document"]).decode(), entry["updated_at"]
        )
        policy = ManagedPolicy(
            "aws", name, entry["path"], _id_of("ANPA", name), entry["created_at"],
            entry["updated_at"], (version,), version.id,
        )  # fmt: skip
        found[policy.arn] = policy
    return found


def policy_by_arn(view: View, account: str, arn: str) -> ManagedPolicy | None:
    """A managed policy of AWS's or of the account."""
    if arn.startswith(MANAGED_PREFIX):
        return aws_managed().get(arn)
    entry = view.rows(POLICIES).get(policy_key(account, arn.rpartition("/")[2]))
    return entry.value if entry is not None and entry.value.arn == arn else None


@dataclass(slots=True, frozen=True)
class Source:
    """A policy as it bears on somebody. ``name`` is what simulations call it."""

    name: str
    document: str

    @property
    def policy(self) -> Policy:
        """Its statements."""
        return parse_policy(self.document)


def sources_of(view: View, entity: Entity) -> Iterator[Source]:
    """Every policy that is attached to an entity, written into it, or its groups'."""
    for name, document in entity.inline.items():
        yield Source(f"{entity.kind}_{entity.name}_{name}", document)
    for arn in entity.attached:
        found = policy_by_arn(view, entity.account, arn)
        version = found.version(found.default) if found else None
        if found is not None and version is not None:
            yield Source(found.name, version.document)
    for group in entity.groups:
        entry = view.rows(GROUPS).get(entity_key(entity.account, "group", group))
        if entry is not None:
            yield from sources_of(view, entry.value)


def policies_of(view: View, entity: Entity) -> Iterator[Policy]:
    """Every policy that bears on an entity."""
    return (source.policy for source in sources_of(view, entity))


class Identities:
    """Reads identities from the view: the gateway's credential source."""

    def __init__(self, view: View, sealer: Sealer) -> None:
        self._view = view
        self._opened = lru_cache(maxsize=OPENED)(sealer.open)  # by what is sealed, and for what

    def lookup(self, access_key: str) -> Credential | None:
        """The credential of an active access key; also of a session that has expired, whose
        ``expires_at`` says so."""
        for session_entry in self._view.rows(SESSIONS).by("id", access_key):
            return self._of_session(session_entry.key, session_entry.value)
        for entry in self._view.rows(ACCESS_KEYS).by("id", access_key):
            if entry.value.active:
                return self._of_key(entry.key, entry.value)
        return None

    def _of_key(self, store_key: str, key: AccessKey) -> Credential | None:
        try:
            secret = self._opened(key.sealed_secret, store_key).decode()
        except CannotOpen:
            return None
        principal = f"arn:aws:iam::{key.account}:root"
        if key.user:
            user = self._view.rows(USERS).get(entity_key(key.account, "user", key.user))
            if user is None:
                return None
            principal = user.value.arn
        return Credential(key.id, secret, key.account, principal)

    def _of_session(self, store_key: str, session: Session) -> Credential | None:
        try:
            secret, token = orjson.loads(self._opened(session.sealed, store_key))
        except CannotOpen:
            return None
        return Credential(
            session.id, secret, session.account, session.principal, token, session.expires_at
        )


def entity_by_arn(view: View, arn: str, *, any_path: bool = False) -> Entity | None:
    """The user, group or role of an ARN, path included unless ``any_path``."""
    parts = arn.split(":", 5)
    if len(parts) != 6 or parts[2] != "iam":
        return None
    kind = parts[5].partition("/")[0]
    table = {"user": USERS, "group": GROUPS, "role": ROLES}.get(kind)
    if table is None:
        return None
    entry = view.rows(table).get(entity_key(parts[4], kind, arn.rpartition("/")[2]))
    if entry is None or not (any_path or entry.value.arn == arn):
        return None
    return entry.value


def entity_of(view: View, principal_arn: str) -> Entity | None:
    """The role or user behind a caller's ARN; None for root and for what is gone."""
    parts = principal_arn.split(":", 5)
    if len(parts) != 6:
        return None
    account, name = parts[4], principal_arn.rpartition("/")[2]
    if role_of_session(principal_arn):
        entry = view.rows(ROLES).get(entity_key(account, "role", parts[5].split("/")[1]))
    elif parts[5].startswith("user/"):
        entry = view.rows(USERS).get(entity_key(account, "user", name))
    elif parts[5].startswith("role/"):
        entry = view.rows(ROLES).get(entity_key(account, "role", name))
    else:
        return None
    return entry.value if entry else None


def user_id_of(view: View, account: str, principal_arn: str, access_key: str) -> str:
    """What GetCallerIdentity calls a caller's UserId: a user's id, ``<role id>:<session>`` for a
    session of a role, the account's number for root."""
    for entry in view.rows(SESSIONS).by("id", access_key):
        return entry.value.entity_id
    entity = entity_of(view, principal_arn)
    return entity.id if entity else account


def is_root(principal_arn: str) -> bool:
    """Whether a caller is the account's root user, who may do everything."""
    return principal_arn.endswith(":root")


async def ensure_root(
    store: Store, sealer: Sealer, chance: Chance, account: str, now: float
) -> tuple[str, str]:
    """The root user's access key and secret, made on first call and the same ever after.

    Raises CannotOpen if the stored key was sealed with another sealing key."""
    key = access_key_key(account, "root")
    while True:
        record = await store.get(key)
        if record is not None:
            found = msgspec.json.decode(record.body, type=AccessKey)
            return found.id, sealer.open(found.sealed_secret, key).decode()
        id, secret = new_access_key("AKIA", chance)
        made = AccessKey(account, id, "", sealer.seal(secret.encode(), key), now)
        try:
            await store.commit(Transaction((Guard(key, 0),), (Put(key, encode(made)),)))
        except GuardFailed:
            continue
        return id, secret
