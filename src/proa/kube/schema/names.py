"""Names, labels and their texts: apimachinery's ``validation`` package.

Each function lists what is wrong with a text in Kubernetes' words, nothing if it is right. Used by
selectors and by the semantic rules.
"""

from __future__ import annotations

import re

LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = rf"{LABEL}(\.{LABEL})*"
QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
LABEL_VALUE = rf"({QUALIFIED})?"
CONFIG_KEY = r"[-._a-zA-Z0-9]+"
DNS1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"

_COMPILED = {
    pattern: re.compile(pattern)
    for pattern in (LABEL, SUBDOMAIN, QUALIFIED, LABEL_VALUE, CONFIG_KEY, DNS1035)
}
SUBDOMAIN_FAULT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    rf"for validation is '{SUBDOMAIN}')"
)
LABEL_FAULT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    rf"for validation is '{LABEL}')"
)
DNS1035_FAULT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', "
    rf"regex used for validation is '{DNS1035}')"
)
_QUALIFIED_FAULT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    rf"validation is '{QUALIFIED}')"
)
_VALUE_FAULT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  "
    rf"or '12345', regex used for validation is '{LABEL_VALUE}')"
)
_KEY_FAULT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
    rf"'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '{CONFIG_KEY}')"
)
LABEL_LENGTH = 63
SUBDOMAIN_LENGTH = 253


def _is(pattern: str, text: str) -> bool:
    return _COMPILED[pattern].fullmatch(text) is not None


def _length(text: str, limit: int, what: str = "") -> list[str]:
    size = len(text) if text.isascii() else len(text.encode())
    return [f"{what}must be no more than {limit} bytes"] if size > limit else []


def subdomain_faults(text: str) -> list[str]:
    """Of most objects' names."""
    faults = _length(text, SUBDOMAIN_LENGTH)
    return faults if _is(SUBDOMAIN, text) else [*faults, SUBDOMAIN_FAULT]


def label_faults(text: str) -> list[str]:
    """Of a DNS-1123 label: namespaces, containers, volumes."""
    faults = _length(text, LABEL_LENGTH)
    return faults if _is(LABEL, text) else [*faults, LABEL_FAULT]


def dns1035_faults(text: str) -> list[str]:
    """Of a DNS-1035 label."""
    faults = _length(text, LABEL_LENGTH)
    return faults if _is(DNS1035, text) else [*faults, DNS1035_FAULT]


def path_segment_faults(text: str) -> list[str]:
    """Of names of RBAC objects, which need only fit into a URL."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{letter}'" for letter in "/%" if letter in text]


def qualified_name_faults(text: str) -> list[str]:
    """Of a label's or annotation's key, a resource's or finalizer's name."""
    prefix, slash, name = text.rpartition("/")
    if slash and "/" in prefix:
        return [
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
            f"'123-abc', regex used for validation is '{QUALIFIED}') with an optional DNS "
            "subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    faults: list[str] = []
    if slash and not prefix:
        faults.append("prefix part must be non-empty")
    elif slash:
        faults += [f"prefix part {fault}" for fault in subdomain_faults(prefix)]
    if not name:
        faults.append("name part must be non-empty")
    faults += _length(name, LABEL_LENGTH, "name part ")
    return faults if _is(QUALIFIED, name) else [*faults, _QUALIFIED_FAULT]


label_key_faults = qualified_name_faults


def label_value_faults(text: str) -> list[str]:
    """Of a label's value."""
    faults = _length(text, LABEL_LENGTH)
    return faults if _is(LABEL_VALUE, text) else [*faults, _VALUE_FAULT]


def config_key_faults(text: str) -> list[str]:
    """Of a key of a ConfigMap or Secret."""
    faults = _length(text, SUBDOMAIN_LENGTH)
    if not _is(CONFIG_KEY, text):
        faults.append(_KEY_FAULT)
    if text in (".", "..") or text.startswith(".."):
        faults.append(f"must not {'be' if len(text) < 3 else 'start with'} '{text[:2]}'")
    return faults
