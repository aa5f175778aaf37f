"""Parameters as records: one for the parameter, one for each of its versions.

A version's key holds the parameter's id, not its name, so that nothing of a deleted parameter
shows in a new one of the same name. Values of SecureStrings lie sealed for their version's key.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from proa.cloud.aws_table import aws_table
from proa.cloud.secrets import Sealer
from proa.reconcile.view import Entry, Table, View
from proa.store.api import Put

SECURE = "SecureString"
DEFAULT_KEY = "alias/aws/ssm"
encode = msgspec.json.Encoder().encode


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A parameter. ``latest`` is its newest version, ``oldest`` the oldest that is still kept;
    ``labels`` say which version each stands at."""

    account: str
    region: str
    name: str
    id: str
    latest: int = 1
    oldest: int = 1
    labels: dict[str, int] = {}
    tags: dict[str, str] = {}
    expires_at: float = 0.0  # 0: never; set by an Expiration policy

    @property
    def arn(self) -> str:
        """The parameter's ARN, in which a leading slash is not repeated."""
        return arn_of(self.account, self.region, self.name)

    def labels_of(self, version: int) -> list[str]:
        """The labels at a version, sorted."""
        return sorted(label for label, at in self.labels.items() if at == version)


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version. ``value`` is text, or for a SecureString empty: ``sealed`` holds it then."""

    id: str  # the parameter's
    number: int
    type: str
    modified_at: float
    modified_by: str
    value: str = ""
    sealed: bytes = b""
    key_id: str = ""
    description: str = ""
    pattern: str = ""
    tier: str = "Standard"
    data_type: str = "text"
    policies: str = ""  # JSON as it was given


def arn_of(account: str, region: str, name: str) -> str:
    """A parameter's ARN."""
    return f"arn:aws:ssm:{region}:{account}:parameter/{name.removeprefix('/')}"


def _prefix(account: str, region: str, kind: str) -> str:
    return f"/aws/{account}/{region}/ssm/{kind}/"


def parameter_key(account: str, region: str, name: str) -> str:
    """The key of a parameter; with an empty name, the prefix of all of a region."""
    return _prefix(account, region, "parameters") + quote(name, safe="")


def version_key(account: str, region: str, id: str, number: int) -> str:
    """The key of a version of the parameter with this id."""
    return f"{_prefix(account, region, 'versions')}{id}/{number:012d}"


PARAMETERS: Table[Parameter] = aws_table(
    "ssm.parameters",
    ("ssm", "parameters"),
    msgspec.json.Decoder(Parameter).decode,
    {"id": lambda _key, parameter: (parameter.id,)},
)
VERSIONS: Table[Version] = aws_table(
    "ssm.versions", ("ssm", "versions"), msgspec.json.Decoder(Version).decode
)
TABLES: tuple[Table[Any], ...] = (PARAMETERS, VERSIONS)


def put_version(parameter: Parameter, version: Version, value: str, sealer: Sealer) -> Put:
    """The write of a version with its value, sealed where its type asks for it."""
    key = version_key(parameter.account, parameter.region, parameter.id, version.number)
    if version.type == SECURE:
        stored = msgspec.structs.replace(version, sealed=sealer.seal(value.encode(), key))
    else:
        stored = msgspec.structs.replace(version, value=value)
    return Put(key, encode(stored))


def value_of(entry: Entry[Version], sealer: Sealer) -> str:
    """A version's value; raises CannotOpen."""
    if entry.value.type != SECURE:
        return entry.value.value
    return sealer.open(entry.value.sealed, entry.key).decode()


def find_parameter(
    view: View, account: str, region: str, name: str, now: float
) -> Entry[Parameter] | None:
    """A parameter by its name; one whose time is over is not there."""
    entry = view.rows(PARAMETERS).get(parameter_key(account, region, name))
    return None if entry is None or is_over(entry.value, now) else entry


def is_over(parameter: Parameter, now: float) -> bool:
    """Whether an Expiration policy has ended the parameter."""
    return 0 < parameter.expires_at <= now


def find_version(view: View, parameter: Parameter, number: int) -> Entry[Version] | None:
    """A version that is still kept."""
    key = version_key(parameter.account, parameter.region, parameter.id, number)
    return view.rows(VERSIONS).get(key)
