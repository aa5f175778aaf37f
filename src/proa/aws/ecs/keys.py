"""Keys of everything ECS stores, below ``/aws/<account>/<region>/ecs/``."""

from __future__ import annotations

import hashlib


def base_key(account: str, region: str) -> str:
    """The prefix of everything ECS keeps for one account and region."""
    return f"/aws/{account}/{region}/ecs/"


def cluster_key(account: str, region: str, name: str) -> str:
    return f"{base_key(account, region)}cluster/{name}"


def task_definition_key(account: str, region: str, family: str, revision: int) -> str:
    return f"{base_key(account, region)}taskdef/{family}/{revision:08d}"


def family_key(account: str, region: str, family: str) -> str:
    return f"{base_key(account, region)}family/{family}"


def task_key(account: str, region: str, cluster: str, identifier: str) -> str:
    return f"{base_key(account, region)}task/{cluster}/{identifier}"


def service_key(account: str, region: str, cluster: str, name: str) -> str:
    return f"{base_key(account, region)}service/{cluster}/{name}"


def event_prefix(account: str, region: str, cluster: str, service: str) -> str:
    """Where a service's events lie."""
    return f"{base_key(account, region)}event/{cluster}/{service}/"


def token_key(account: str, region: str, scope: str, token: str) -> str:
    """Tokens may hold any printable character, so the key carries their digest."""
    return f"{base_key(account, region)}token/{scope}/{hashlib.sha256(token.encode()).hexdigest()}"


def setting_key(account: str, region: str, principal: str, name: str) -> str:
    who = hashlib.sha256(principal.encode()).hexdigest()[:16] if principal else "default"
    return f"{base_key(account, region)}setting/{who}/{name}"


def port_key(account: str, region: str, instance: str, protocol: str, number: int) -> str:
    """Where the claim of a host port lies."""
    return f"{base_key(account, region)}port/{instance}/{protocol}/{number}"


def instance_note_key(account: str, region: str, instance: str) -> str:
    """Where ECS keeps what it knows of an Instance."""
    return f"{base_key(account, region)}instance/{instance}"
