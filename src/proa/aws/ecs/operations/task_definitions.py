"""Task definitions: register, deregister, delete, describe, list."""

from __future__ import annotations

import msgspec

from proa.aws.ecs import paging, taskdef, taskdef_rules, writes
from proa.aws.ecs.keys import base_key, family_key
from proa.aws.ecs.names import client_fault, task_definition_name
from proa.aws.ecs.operations import tags
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.records import Family, TaskDefinition
from proa.aws.ecs.tables import FAMILIES, TASK_DEFINITIONS
from proa.aws.gateway.service import Context, Input, Output
from proa.dispatch.skin import Parts
from proa.reconcile.view import Entry
from proa.store.api import Transaction

MAX_DELETED = 10


async def register(ecs: Ecs, context: Context, request: Input) -> Output:
    """A new revision of a family, after every rule has been checked."""
    taskdef_rules.check(request)
    document = taskdef.document_of(request)
    given = tags.checked(request.get("tags"))
    key = family_key(context.account, context.region, request["family"])

    def decision() -> tuple[Transaction, Output]:
        entry = ecs.view.rows(FAMILIES).get(key)
        family = Family((entry.value.revision if entry else 0) + 1)
        definition = TaskDefinition(
            account=context.account,
            region=context.region,
            family=request["family"],
            revision=family.revision,
            document=document,
            registered_at=context.now,
            registered_by=context.principal_arn,
            tags=given,
        )
        counted = writes.replaced(entry, family) if entry else writes.created(family, key)
        transaction = writes.transaction(counted, writes.created(definition, definition.key))
        return transaction, _answer(definition)

    return await ecs.decide(decision)


async def deregister(ecs: Ecs, context: Context, request: Input) -> Output:
    """Make a revision INACTIVE: what runs goes on, nothing new is launched from it."""
    family, revision = task_definition_name(context, request["taskDefinition"])
    if not revision:
        raise client_fault("Invalid identifier: the revision must be given (family:revision).")

    def decision() -> tuple[Transaction | None, Output]:
        entry = ecs.definition(context, family, revision)
        if entry is None:
            raise client_fault("The specified task definition does not exist.")
        if entry.value.status != "ACTIVE":
            return None, {"taskDefinition": taskdef.shown(entry.value)}
        gone = msgspec.structs.replace(entry.value, status="INACTIVE", deregistered_at=context.now)
        answer = {"taskDefinition": taskdef.shown(gone)}
        return writes.transaction(writes.replaced(entry, gone)), answer

    return await ecs.decide(decision)


async def delete(ecs: Ecs, context: Context, request: Input) -> Output:
    """Let INACTIVE revisions go: DELETE_IN_PROGRESS until no task and no service refers to them.
    What cannot be deleted is a failure, and keeps nothing else from being."""
    wanted = request["taskDefinitions"]
    if not 1 <= len(wanted) <= MAX_DELETED:
        raise client_fault(f"taskDefinitions must have 1 to {MAX_DELETED} elements.")

    def decision() -> tuple[Transaction | None, Output]:
        pieces: dict[str, Parts] = {}
        shown, failures = [], []
        for text in wanted:
            family, revision = task_definition_name(context, text)
            entry = ecs.definition(context, family, revision) if revision else None
            reason = _undeletable(entry, revision)
            if entry is None or reason:
                failures.append({"arn": text, "reason": reason})
                continue
            going = msgspec.structs.replace(
                entry.value,
                status="DELETE_IN_PROGRESS",
                delete_requested_at=entry.value.delete_requested_at or context.now,
            )
            if going != entry.value:
                pieces[entry.key] = writes.replaced(entry, going)
            shown.append(taskdef.shown(going))
        answer = {"taskDefinitions": shown, "failures": failures}
        return (writes.transaction(*pieces.values()) if pieces else None), answer

    return await ecs.decide(decision)


def _undeletable(entry: Entry[TaskDefinition] | None, revision: int) -> str:
    if not revision:
        return "The specified task definition identifier must have a revision number."
    if entry is None:
        return "The specified task definition does not exist."
    if entry.value.status == "ACTIVE":
        return (
            "The specified task definition is still in ACTIVE status. Please deregister the "
            "target and try again."
        )
    return ""


async def describe(ecs: Ecs, context: Context, request: Input) -> Output:
    """A revision by family (the newest ACTIVE one), family:revision or ARN."""
    family, revision = task_definition_name(context, request["taskDefinition"])
    await ecs.fresh()
    entry = ecs.definition(context, family, revision)
    if entry is None:
        raise client_fault("Unable to describe task definition.")
    if "TAGS" in (request.get("include") or ()):
        return _answer(entry.value)
    return {"taskDefinition": taskdef.shown(entry.value)}


def _answer(definition: TaskDefinition) -> Output:
    return {"taskDefinition": taskdef.shown(definition), "tags": list(definition.tags)}


async def list_definitions(ecs: Ecs, context: Context, request: Input) -> Output:
    """ARNs of revisions with a status, by family and then revision."""
    await ecs.fresh()
    family, status = request.get("familyPrefix"), request.get("status") or "ACTIVE"
    prefix = f"{base_key(context.account, context.region)}taskdef/"
    keys = {
        entry.key.removeprefix(prefix): entry.value.arn
        for entry in ecs.view.rows(TASK_DEFINITIONS).scan(
            f"{prefix}{family}/" if family else prefix
        )
        if entry.value.status == status
    }
    ordered = sorted(keys, reverse=request.get("sort") == "DESC")
    page, more = paging.page(ordered, request.get("nextToken"), request.get("maxResults"))
    answer: Output = {"taskDefinitionArns": [keys[key] for key in page]}
    return {**answer, "nextToken": more} if more else answer


async def list_families(ecs: Ecs, context: Context, request: Input) -> Output:
    """Families that have an ACTIVE revision, or only INACTIVE ones, or any."""
    await ecs.fresh()
    status = request.get("status") or "ACTIVE"
    prefix = f"{base_key(context.account, context.region)}taskdef/"
    active: dict[str, bool] = {}
    for entry in ecs.view.rows(TASK_DEFINITIONS).scan(prefix + (request.get("familyPrefix") or "")):
        family = entry.value.family
        active[family] = active.get(family, False) or entry.value.status == "ACTIVE"
    names = sorted(
        family for family, is_active in active.items()
        if status == "ALL" or is_active == (status == "ACTIVE")
    )  # fmt: skip
    page, more = paging.page(names, request.get("nextToken"), request.get("maxResults"))
    return {"families": page, **({"nextToken": more} if more else {})}
