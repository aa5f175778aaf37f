"""Secrets as records: one for the secret, one for the value of each of its versions.

A value's key holds the secret's id, not its name, so that nothing of a deleted secret shows in a
new one of the same name; the value lies sealed for that key.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from proa.cloud.aws_table import aws_table
from proa.cloud.secrets import Sealer
from proa.reconcile.view import Entry, Table, View
from proa.store.api import Put

CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"
DEFAULT_KEY = "DefaultEncryptionKey"
encode = msgspec.json.Encoder().encode


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version without its value. ``accessed_at`` is the day of the last reading, 0 for none."""

    created_at: float
    stages: tuple[str, ...] = ()
    accessed_at: float = 0.0


class Secret(msgspec.Struct, frozen=True, omit_defaults=True):
    """A secret. ``versions`` are by their ids, in the order of their creation; ``suffix`` is the
    end of the ARN; ``gone_at`` is when a deletion that was asked for is carried out."""

    account: str
    region: str
    name: str
    suffix: str
    id: str
    created_at: float
    changed_at: float
    description: str = ""
    kms_key: str = ""
    tags: dict[str, str] = {}
    versions: dict[str, Version] = {}
    policy: str = ""
    accessed_at: float = 0.0
    gone_at: float = 0.0

    @property
    def arn(self) -> str:
        """The secret's ARN."""
        return f"{arn_head(self.account, self.region)}{self.name}-{self.suffix}"

    def at_stage(self, stage: str) -> str | None:
        """The id of the version with a staging label."""
        return next((id for id, one in self.versions.items() if stage in one.stages), None)


class Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version's value, sealed; ``binary`` says in which member it came."""

    sealed: bytes
    binary: bool = False


def arn_head(account: str, region: str) -> str:
    """What the ARNs of a region's secrets begin with."""
    return f"arn:aws:secretsmanager:{region}:{account}:secret:"


def _prefix(account: str, region: str, kind: str) -> str:
    return f"/aws/{account}/{region}/secretsmanager/{kind}/"


def secret_key(account: str, region: str, name: str) -> str:
    """The key of a secret; with an empty name, the prefix of all of a region."""
    return _prefix(account, region, "secrets") + quote(name, safe="")


def value_key(secret: Secret, version: str) -> str:
    """The key of a version's value; with an empty version, the prefix of all of a secret."""
    place = _prefix(secret.account, secret.region, "values")
    return f"{place}{secret.id}/{quote(version, safe='')}"


SECRETS: Table[Secret] = aws_table(
    "secretsmanager.secrets",
    ("secretsmanager", "secrets"),
    msgspec.json.Decoder(Secret).decode,
    {"id": lambda _key, secret: (secret.id,)},
)
VALUES: Table[Value] = aws_table(
    "secretsmanager.values", ("secretsmanager", "values"), msgspec.json.Decoder(Value).decode
)
TABLES: tuple[Table[Any], ...] = (SECRETS, VALUES)


def put_value(secret: Secret, version: str, value: bytes, binary: bool, sealer: Sealer) -> Put:
    """The write of a version's value."""
    key = value_key(secret, version)
    return Put(key, encode(Value(sealer.seal(value, key), binary)))


def value_of(view: View, secret: Secret, version: str, sealer: Sealer) -> tuple[bytes, bool]:
    """A version's value, and whether it is binary; raises CannotOpen."""
    entry = view.rows(VALUES).get(value_key(secret, version))
    assert entry is not None, f"{secret.arn} has lost the value of version {version}"
    return sealer.open(entry.value.sealed, entry.key), entry.value.binary


def find_secret(
    view: View, account: str, region: str, identifier: str, now: float
) -> Entry[Secret] | None:
    """A secret by its name, its ARN, or its ARN without the last seven characters; one whose
    deletion has been carried out is not there."""
    rows, head = view.rows(SECRETS), arn_head(account, region)
    name, suffix = identifier, ""
    if identifier.startswith("arn:"):
        if not identifier.startswith(head):
            return None
        name = identifier.removeprefix(head)
        before, dash, suffix = name.rpartition("-")
        whole = rows.get(secret_key(account, region, before)) if dash else None
        if whole is not None and whole.value.suffix == suffix:
            return None if is_gone(whole.value, now) else whole
    entry = rows.get(secret_key(account, region, name))
    return None if entry is None or is_gone(entry.value, now) else entry


def is_gone(secret: Secret, now: float) -> bool:
    """Whether the recovery window of a deleted secret is over."""
    return 0 < secret.gone_at <= now
