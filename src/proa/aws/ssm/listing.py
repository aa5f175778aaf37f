"""GetParametersByPath, DescribeParameters, GetParameterHistory: parameters by place and filter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from proa.aws.gateway.desk import Handler
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.aws.ssm import public, rules
from proa.aws.ssm.records import (
    PARAMETERS,
    Parameter,
    Version,
    find_version,
    is_over,
    parameter_key,
)
from proa.aws.ssm.shared import (
    SsmDesk,
    after_token,
    check_page,
    described,
    parameter_entry,
    shown,
    shown_value,
    token_of,
)
from proa.reconcile.view import Entry

Listed = tuple[Parameter, Entry[Version]]
_BY_PATH_KEYS = ("Type", "KeyId", "Label")
_DESCRIBE_KEYS = ("Name", "Type", "KeyId", "Path", "Tier", "DataType")
_OPTIONS = {"Name": ("BeginsWith", "Contains", "Equals"), "Path": ("OneLevel", "Recursive")}
_PLAIN_OPTIONS = ("Equals", "BeginsWith")


def _all(desk: SsmDesk, context: Context) -> Iterator[Listed]:
    """Every parameter with its newest version, by the order of names."""
    scan = desk.view.rows(PARAMETERS).scan(parameter_key(context.account, context.region, ""))
    found = (e.value for e in scan if not is_over(e.value, context.now))
    for parameter in sorted(found, key=lambda one: one.name):
        version = find_version(desk.view, parameter, parameter.latest)
        if version is not None:  # deleted between two reads of one call, never half
            yield parameter, version


def _below(name: str, path: str, recursive: bool) -> bool:
    """Whether a name lies below a path; one without a slash lies at the root."""
    prefix = path if path.endswith("/") else path + "/"
    whole = name if name.startswith("/") else "/" + name
    rest = whole.removeprefix(prefix)
    return rest != whole and (recursive or "/" not in rest)


def _filter_key(one: Input, allowed: tuple[str, ...], tags: bool) -> str:
    key = str(one["Key"])
    if key not in allowed and not (tags and key.startswith("tag:")):
        named = ", ".join([*allowed, *(["tag:key"] if tags else [])])
        raise AwsError(
            "InvalidFilterKey",
            f"The following filter key is not valid: {key}. Valid filter keys include: [{named}].",
        )
    return key


def _test(one: Input, allowed: tuple[str, ...], tags: bool) -> Callable[[Listed], bool]:
    """One ParameterStringFilter as a test. Raises InvalidFilterKey, -Option and -Value."""
    key, values = _filter_key(one, allowed, tags), [str(v) for v in one.get("Values") or ()]
    options = _OPTIONS.get(key, _PLAIN_OPTIONS)
    option = str(one.get("Option") or ("OneLevel" if key == "Path" else "Equals"))
    if option not in options:
        raise AwsError(
            "InvalidFilterOption",
            f"The following filter option is not valid: {option}. Valid options include: "
            f"[{', '.join(options)}].",
        )
    if key.startswith("tag:"):
        return lambda item: _has_tag(item[0], key[4:], values)
    if not values:
        message = f"The following filter values are missing : null for filter key {key}"
        raise AwsError("InvalidFilterValue", message)
    if key == "Path":
        for path in values:
            check_path(path)
        recursive = option == "Recursive"
        return lambda item: any(_below(item[0].name, path, recursive) for path in values)
    if key == "Label":
        return lambda item: any(label in item[0].labels for label in values)
    return lambda item: any(_compares(option, _read(item, key), value) for value in values)


def _has_tag(parameter: Parameter, key: str, values: list[str]) -> bool:
    return key in parameter.tags and (not values or parameter.tags[key] in values)


def _read(item: Listed, key: str) -> str:
    parameter, version = item[0], item[1].value
    return {
        "Name": parameter.name, "Type": version.type, "KeyId": version.key_id,
        "Tier": version.tier, "DataType": version.data_type,
    }[key]  # fmt: skip


def _compares(option: str, found: str, wanted: str) -> bool:
    if option == "BeginsWith":
        return found.startswith((wanted, "/" + wanted))
    if option == "Contains":
        return wanted in found
    return found in (wanted, "/" + wanted)


def check_path(path: str) -> None:
    """A hierarchy's path."""
    if not path.startswith("/") or not all(c.isalnum() or c in "/.-_" for c in path):
        raise rules.validation(
            'The parameter doesn\'t meet the parameter name requirements. The parameter name must '
            'begin with a forward slash "/". It can\'t be prefixed with \\"aws\\" or \\"ssm\\" '
            "(case-insensitive). It must use only letters, numbers, or the following symbols: . "
            "(period), - (hyphen), _ (underscore). Special characters are not allowed. All "
            'sub-paths, if specified, must use the forward slash symbol "/". Valid example: '
            "/get/parameters2-/by1./path0_."
        )  # fmt: skip


def _page(items: Iterable[Any], limit: int, name_of: Callable[[Any], str]) -> tuple[list[Any], Any]:
    """What fits, and the token of the rest."""
    found = list(islice(items, limit + 1))
    if len(found) <= limit:
        return found, None
    return found[:limit], token_of(name_of(found[limit - 1]))


async def get_parameters_by_path(desk: SsmDesk, context: Context, given: Input) -> Output:
    """Public parameters too, where the path is theirs."""
    path, recursive = given["Path"], given.get("Recursive", False)
    check_path(path)
    decrypt, limit = given.get("WithDecryption", False), check_page(given.get("MaxResults"), 10)
    after = after_token(given.get("NextToken"))
    if path.startswith(public.PREFIX.rstrip("/")):
        names = (n for n in public.paths() if n > after and _below(n, path, recursive))
        found, token = _page(names, limit, str)
        answers = [public.parameter(context.region, name) for name in found]
        return {"Parameters": answers, "NextToken": token}
    tests = [_test(one, _BY_PATH_KEYS, False) for one in given.get("ParameterFilters") or ()]
    items = (
        item
        for item in _all(desk, context)
        if item[0].name > after
        and _below(item[0].name, path, recursive)
        and all(test(item) for test in tests)
    )
    found, token = _page(items, limit, lambda item: str(item[0].name))
    listed = [shown(desk, parameter, version, decrypt) for parameter, version in found]
    return {"Parameters": listed, "NextToken": token}


def _tests(given: Input) -> list[Callable[[Listed], bool]]:
    """Of DescribeParameters, whose older Filters compare beginnings of names."""
    old, new = given.get("Filters"), given.get("ParameterFilters")
    if old and new:
        raise rules.validation(
            "You can use either Filters or ParameterFilters in a single request."
        )
    for one in old or ():
        option = "BeginsWith" if one["Key"] == "Name" else "Equals"
        new = [*(new or ()), {**one, "Option": option}]
    keys = [one["Key"] for one in new or ()]
    if len(set(keys)) < len(keys):
        raise rules.validation(
            "The following filter is duplicated in the request. The request can contain only one "
            "unique filter."
        )
    return [_test(one, _DESCRIBE_KEYS, True) for one in new or ()]


async def describe_parameters(desk: SsmDesk, context: Context, given: Input) -> Output:
    """Without values. No parameter is shared from another account."""
    tests, after = _tests(given), after_token(given.get("NextToken"))
    limit = check_page(given.get("MaxResults"), 50)
    items = (
        item
        for item in ([] if given.get("Shared") else _all(desk, context))
        if item[0].name > after and all(test(item) for test in tests)
    )
    found, token = _page(items, limit, lambda item: str(item[0].name))
    listed = [
        {"Name": parameter.name, "ARN": parameter.arn, **described(version.value)}
        for parameter, version in found
    ]
    return {"Parameters": listed, "NextToken": token}


async def get_parameter_history(desk: SsmDesk, context: Context, given: Input) -> Output:
    """Every version that is kept, the oldest first."""
    parameter = parameter_entry(desk, context, given["Name"]).value
    after, limit = after_token(given.get("NextToken")), check_page(given.get("MaxResults"), 50)
    if after and not after.isdecimal():
        raise AwsError("InvalidNextToken", "The specified token is not valid.")
    start = max(parameter.oldest, int(after or 0) + 1)
    kept = (find_version(desk.view, parameter, n) for n in range(start, parameter.latest + 1))
    found, token = _page(
        (entry for entry in kept if entry is not None), limit, lambda one: str(one.value.number)
    )
    decrypt = given.get("WithDecryption", False)
    versions = [
        {
            "Name": parameter.name,
            "Value": shown_value(desk, entry, decrypt),
            "Labels": parameter.labels_of(entry.value.number),
            **described(entry.value),
        }
        for entry in found
    ]
    return {"Parameters": versions, "NextToken": token}


HANDLERS: dict[str, Handler[SsmDesk]] = {
    "GetParametersByPath": get_parameters_by_path,
    "DescribeParameters": describe_parameters,
    "GetParameterHistory": get_parameter_history,
}
