"""Impersonation: who may ask in another's name does so by headers.

``server`` calls ``impersonated`` after authentication. Every name, group, uid and extra value that
is taken on must be allowed by RBAC's verb "impersonate"; the rules are those of kube-apiserver's
impersonation filter. From then on the request is the other's, in authorisation too.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import unquote

from proa.base.http import Request
from proa.kube.api.authn import AUTHENTICATED
from proa.kube.api.context import ANONYMOUS, User
from proa.kube.api.failures import bad_request
from proa.kube.api.rbac import Attributes, Rbac

PREFIX = "impersonate-"
_EXTRA = "impersonate-extra-"
_GROUP = "authentication.k8s.io"
_ACCOUNT = "system:serviceaccount:"


def impersonated(request: Request, user: User, rbac: Rbac) -> User:
    """The user that the request is for: ``user`` where no header says otherwise. Raises ApiError
    400 for headers without a user, 403 for what ``user`` may not take on."""
    if not _asked_for(tuple(request.headers)):
        return user
    headers = {name: text for name, text in request.headers.items() if name.startswith(PREFIX)}
    name = headers.get("impersonate-user", "")
    if not name:
        raise bad_request(f"requested {sorted(headers)} without impersonating a user")
    groups = _values(headers.get("impersonate-group", ""))
    uid = headers.get("impersonate-uid", "")
    extra = {
        unquote(header.removeprefix(_EXTRA)): _values(text)
        for header, text in headers.items()
        if header.startswith(_EXTRA)
    }
    for attributes in _asked(name, groups, uid, extra):
        if not rbac.allows(user, attributes):
            raise rbac.denial(user, attributes)
    return User(name, _groups(name, groups), uid, extra)


@lru_cache(maxsize=64)
def _asked_for(names: tuple[str, ...]) -> bool:
    """Whether one of these headers asks for another user: clients send the same ones each time."""
    return any(name.startswith(PREFIX) for name in names)


def _values(text: str) -> tuple[str, ...]:
    """The values of a header that was sent once or several times."""
    return tuple(value.strip() for value in text.split(",") if value.strip())


def _asked(
    name: str, groups: tuple[str, ...], uid: str, extra: dict[str, tuple[str, ...]]
) -> list[Attributes]:
    """What must be allowed, each by itself."""
    account = _account(name)
    if account is not None:
        asked = [Attributes("impersonate", "", "serviceaccounts", "", *account)]
    else:
        asked = [Attributes("impersonate", "", "users", name=name)]
    asked += [Attributes("impersonate", "", "groups", name=group) for group in groups]
    if uid:
        asked.append(Attributes("impersonate", _GROUP, "uids", name=uid))
    asked += [
        Attributes("impersonate", _GROUP, "userextras", key, name=value)
        for key, values in extra.items()
        for value in values
    ]
    return asked


def _account(name: str) -> tuple[str, str] | None:
    """(namespace, name) where a user's name is a service account's."""
    parts = name.removeprefix(_ACCOUNT).split(":")
    is_account = name.startswith(_ACCOUNT) and len(parts) == 2 and all(parts)
    return (parts[0], parts[1]) if is_account else None


def _groups(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The groups that go with a user anyway."""
    account = _account(name)
    if account is not None and not groups:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    always = "system:unauthenticated" if name == ANONYMOUS.name else AUTHENTICATED
    return groups if always in groups else (*groups, always)
