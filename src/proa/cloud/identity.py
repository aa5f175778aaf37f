"""Identities: the credential an access key stands for."""

from __future__ import annotations

from dataclasses import dataclass


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
