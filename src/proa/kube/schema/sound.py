"""What surely breaks no rule of names and labels, seen at a glance: almost every object.

To check the names of one object text by text takes longer than to store it. Here the same
patterns (``names``) stand in compiled schemas, which are stricter where a schema cannot say what a
rule says. ``checks`` asks first; what does not pass is checked by the rules themselves, which say
what is wrong with it, if anything is. So nothing may pass that a rule refuses: a test holds it to
that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jsonschema_rs

from proa.kube.schema import names

JSON = dict[str, Any]
Faults = Callable[[str], list[str]]
# Rules of names that a pattern says, and how long a name may be.
_NAMES: dict[Faults, tuple[str, int]] = {
    names.subdomain_faults: (names.SUBDOMAIN, names.SUBDOMAIN_LENGTH),
    names.label_faults: (names.LABEL, names.LABEL_LENGTH),
    names.dns1035_faults: (names.DNS1035, names.LABEL_LENGTH),
}
# All of a key is no longer than its name part may be: then no part is too long.
_KEY: JSON = {
    "pattern": rf"^({names.SUBDOMAIN}/)?{names.QUALIFIED}$",
    "maxLength": names.LABEL_LENGTH,
}
_LABEL_VALUE: JSON = {
    "type": "string",
    "pattern": f"^{names.LABEL_VALUE}$",
    "maxLength": names.LABEL_LENGTH,
}
_LABELS: JSON = {"type": "object", "propertyNames": _KEY, "additionalProperties": _LABEL_VALUE}
# Together they stay below what annotations may take, four bytes to a letter.
_ANNOTATIONS: JSON = {
    "type": "object",
    "maxProperties": 12,
    "propertyNames": _KEY,
    "additionalProperties": {"type": "string", "maxLength": 4096},
}
_OWNER_PARTS = ("apiVersion", "kind", "name", "uid")
_OWNER: JSON = {
    "type": "object",
    "required": list(_OWNER_PARTS),
    "properties": {name: {"type": "string", "minLength": 1} for name in _OWNER_PARTS},
}
# The same of what a ConfigMap may hold, whose keys are more than dots and do not begin with two.
_DATA: JSON = {
    "type": "object",
    "maxProperties": 16,
    "propertyNames": {
        "pattern": rf"^\.?[-_a-zA-Z0-9]({names.CONFIG_KEY})?$",
        "maxLength": names.SUBDOMAIN_LENGTH,
    },
    "additionalProperties": {"type": "string", "maxLength": 16384},
}


def is_sound_metadata(faults: Faults, metadata: JSON) -> bool:
    """Whether metadata of an object whose name is subject to ``faults`` surely keeps the rules."""
    schema = _metadata(faults)
    return schema is not None and _passes(schema, metadata)


def are_sound_labels(labels: JSON) -> bool:
    """Whether labels surely keep the rules."""
    return _passes(_labels(), labels)


def is_sound_data(data: JSON) -> bool:
    """Whether what a ConfigMap or Secret holds surely keeps the rules, if it is all that it
    holds."""
    return _passes(_data(), data)


def _passes(schema: Any, value: JSON) -> bool:
    try:
        return bool(schema.is_valid(value))
    except ValueError:  # no text, but half a pair of surrogates
        return False


@cache
def _metadata(faults: Faults) -> Any:
    rule = _NAMES.get(faults)
    if rule is None:
        return None  # no name is known to be sound
    name = {"type": "string", "pattern": f"^{rule[0]}$", "maxLength": rule[1]}
    return jsonschema_rs.Draft6Validator(
        {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": name,
                "labels": _LABELS,
                "annotations": _ANNOTATIONS,
                "finalizers": {"type": "array", "maxItems": 0},
                "ownerReferences": {"type": "array", "maxItems": 1, "items": _OWNER},
            },
        }
    )


@cache
def _labels() -> Any:
    return jsonschema_rs.Draft6Validator(_LABELS)


@cache
def _data() -> Any:
    return jsonschema_rs.Draft6Validator(_DATA)
