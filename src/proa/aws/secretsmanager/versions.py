"""Versions and their staging labels: pure decisions over a secret.

Source: User Guide, "What's in a Secrets Manager secret?" (versions); API references of
PutSecretValue and UpdateSecretVersionStage.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from proa.aws.gateway.service import AwsError
from proa.aws.secretsmanager.records import CURRENT, PREVIOUS, Secret, Version

MAX_VERSIONS, MAX_STAGES = 100, 20


def invalid_parameter(message: str) -> AwsError:
    """InvalidParameterException."""
    return AwsError("InvalidParameterException", message)


def _without(versions: dict[str, Version], stage: str) -> dict[str, Version]:
    return {
        id: msgspec.structs.replace(one, stages=tuple(s for s in one.stages if s != stage))
        for id, one in versions.items()
    }


def _with(versions: dict[str, Version], id: str, stage: str) -> dict[str, Version]:
    """A label stands at one version: wherever it stood, it leaves."""
    moved = _without(versions, stage)
    stages = (*moved[id].stages, stage)
    if len(stages) > MAX_STAGES:
        message = f"A version can't have more than {MAX_STAGES} staging labels."
        raise AwsError("LimitExceededException", message)
    return {**moved, id: msgspec.structs.replace(moved[id], stages=stages)}


def moved(secret: Secret, stage: str, to: str) -> Secret:
    """The secret with a label at another version; AWSCURRENT leaves AWSPREVIOUS behind."""
    before = secret.at_stage(stage)
    if before == to:
        return secret
    versions = _with(secret.versions, to, stage)
    if stage == CURRENT and before is not None:
        versions = _with(versions, before, PREVIOUS)
    return msgspec.structs.replace(secret, versions=versions)


def removed(secret: Secret, stage: str) -> Secret:
    """The secret without a label."""
    return msgspec.structs.replace(secret, versions=_without(secret.versions, stage))


def added(
    secret: Secret, id: str, stages: Iterable[str], now: float
) -> tuple[Secret, tuple[str, ...]]:
    """The secret with a new version at these labels (the first is always AWSCURRENT too), and the
    unlabelled versions that make room for it. Raises LimitExceededException."""
    wanted = list(dict.fromkeys(stages))
    if not secret.versions and CURRENT not in wanted:
        wanted.append(CURRENT)
    changed = msgspec.structs.replace(
        secret, versions={**secret.versions, id: Version(now)}, changed_at=now
    )
    for stage in wanted:
        changed = moved(changed, stage, id)
    loose = [one for one, version in changed.versions.items() if not version.stages and one != id]
    dropped = tuple(loose[: max(0, len(changed.versions) - MAX_VERSIONS)])
    kept = {one: version for one, version in changed.versions.items() if one not in dropped}
    if len(kept) > MAX_VERSIONS:
        message = f"A secret can't have more than {MAX_VERSIONS} labelled versions."
        raise AwsError("LimitExceededException", message)
    return msgspec.structs.replace(changed, versions=kept), dropped


def restaged(secret: Secret, stage: str, source: str | None, target: str | None) -> Secret:
    """What UpdateSecretVersionStage makes of a secret. Raises InvalidParameterException and
    ResourceNotFoundException."""
    for id in (source, target):
        if id is not None and id not in secret.versions:
            raise AwsError(
                "ResourceNotFoundException",
                f"Secrets Manager can't find the specified secret version: {id}.",
            )
    stands = secret.at_stage(stage)
    if source is not None and source != stands:
        raise invalid_parameter(
            f"Staging label {stage} is not currently attached to version {source}."
        )
    if source is None and stands is not None and stands != target:
        raise invalid_parameter(
            f"The parameter RemoveFromVersionId can't be empty. Staging label {stage} is "
            f"currently attached to version {stands}, so you must explicitly reference that "
            "version in RemoveFromVersionId."
        )
    if target is not None:
        return moved(secret, stage, target)
    if stage == CURRENT:
        raise invalid_parameter(
            f"You can only move staging label {CURRENT} to a different secret version. It can't "
            "be completely removed."
        )
    return removed(secret, stage)
