"""Calls on named secrets and parameters: each of them must be allowed, by its whole ARN.

``EachResource`` stands before ``iam.authorize.Authority`` in the gateway. For a service with a
``Resolver`` it asks once for each ARN that the resolver finds, so that a policy for one secret
opens no other that is named in the same call, and a call by name meets a policy that names the
ARN. Other services pass through.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proa.aws.gateway.auth import Authorizer
from proa.aws.gateway.service import Context, Input

Resolver = Callable[[Context, Input], list[str]]  # no ARN: the call is for all resources
_CONDITIONS = ("Tags",)  # members that policies' conditions speak of


class EachResource:
    """An ``Authorizer``; ``resolvers`` are by the prefix of their service's actions."""

    def __init__(self, authorize: Authorizer, resolvers: Mapping[str, Resolver]) -> None:
        self._authorize, self._resolvers = authorize, resolvers

    def __call__(self, context: Context, action: str, given: Input) -> str | None:
        """The first denial, or None when all is allowed."""
        resolver = self._resolvers.get(action.partition(":")[0])
        if resolver is None:
            return self._authorize(context, action, given)
        rest = {name: given[name] for name in _CONDITIONS if name in given}
        for arn in resolver(context, given) or [""]:
            about = {**rest, "Resource": arn} if arn else rest
            denial = self._authorize(context, action, about)
            if denial is not None:
                return denial
        return None
