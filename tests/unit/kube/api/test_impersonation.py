"""Asking in another's name: who may, and as whom they are then seen."""

from __future__ import annotations

import pytest

from proa.base.http import Request
from proa.kube.api.call import ApiError
from proa.kube.api.context import Api, User
from proa.kube.api.impersonation import impersonated
from proa.kube.api.rbac import Rbac
from tests.unit.kube.api.cluster import binding, given, role, rule, user
from tests.unit.kube.world import MemoryStore

ANN = User("ann", ("system:authenticated",))
ROOT = User("root", ("system:masters",))
GRANTS = [
    role("helper", rule("impersonate", "users", resourceNames=["bob"]),
         rule("impersonate", "groups", resourceNames=["dev"]),
         rule("impersonate", "serviceaccounts")),
    binding("ann-helps", "helper", user("ann")),
]  # fmt: skip


def seen(asking: User, **headers: str) -> User:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    found: list[User] = []

    def check(api: Api, _store: MemoryStore) -> None:
        found.append(impersonated(Request("GET", "/api", headers=named), asking, Rbac(api)))

    given(GRANTS, check)
    return found[0]


def test_without_headers_who_asks_is_who_they_are() -> None:
    assert seen(ANN) == ANN


def test_a_user_and_groups_that_are_granted_are_taken_on() -> None:
    found = seen(ANN, impersonate_user="bob", impersonate_group="dev")
    assert found == User("bob", ("dev", "system:authenticated"))


def test_everything_is_open_to_masters_with_groups_uid_and_extra() -> None:
    headers = {"impersonate_user": "eve", "impersonate_group": "a, b", "impersonate_uid": "7",
               "impersonate_extra_scopes": "x"}  # fmt: skip
    groups = ("a", "b", "system:authenticated")
    assert seen(ROOT, **headers) == User("eve", groups, "7", {"scopes": ("x",)})


def test_a_service_account_brings_its_groups() -> None:
    found = seen(ANN, impersonate_user="system:serviceaccount:shop:robot")
    assert found.groups == (
        "system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"impersonate_user": "root"}, 'users "root" is forbidden: User "ann" cannot impersonate'),
        ({"impersonate_user": "bob", "impersonate_group": "system:masters"}, "system:masters"),
        ({"impersonate_user": "bob", "impersonate_uid": "7"}, "uids.authentication.k8s.io"),
        ({"impersonate_user": "bob", "impersonate_extra_a": "b"}, "userextras"),
    ],
)
def test_what_is_not_granted_is_forbidden(headers: dict[str, str], said: str) -> None:
    with pytest.raises(ApiError) as caught:
        seen(ANN, **headers)
    assert caught.value.code == 403
    assert said in caught.value.message


def test_groups_without_a_user_make_no_sense() -> None:
    with pytest.raises(ApiError) as caught:
        seen(ROOT, impersonate_group="dev")
    assert caught.value.code == 400
