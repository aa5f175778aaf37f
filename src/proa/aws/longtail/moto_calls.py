"""moto, called in process: a request goes to the service its host names, state goes to the vault.

Used by the worker alone; nothing else of Proa may import moto, which costs some 150 MB. Which
places (service, account, region) a call touches is seen where moto looks its backends up, since
one service may change another (SNS puts messages into SQS's queues).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import moto
import moto.s3.models
from botocore.awsrequest import AWSPreparedRequest
from botocore.compat import HTTPHeaders
from moto.backend_index import backend_url_patterns
from moto.backends import get_backend
from moto.core.base_backend import AccountSpecificBackend
from moto.core.exceptions import HTTPException
from moto.core.request import normalize_request
from moto.sqs.models import SQSBackend

from proa.aws.longtail.frames import Answer, Call
from proa.aws.longtail.pickling import dump, fill, service_of, watch_objects
from proa.aws.longtail.vault import Content, Place, Snapshot, Vault
from proa.base.telemetry import get_logger

log = get_logger(__name__)
# What Proa has itself: moto's own notes about it are not kept.
NOT_KEPT = frozenset({"iam", "sts"})
Method = Callable[..., Any]
Route = tuple[str, re.Pattern[str], Method]  # moto's name of the service first


@dataclass(slots=True, frozen=True)
class Done:
    """An answer, and the places that its call touched. With ``wait_s`` the answer is empty and
    the caller would rather wait that long for a message than have it."""

    answer: Answer
    body: bytes
    touched: frozenset[Place]
    wait_s: float = 0.0


class Moto:
    """All of moto's services over one vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._touched: set[Place] = set()
        self._routes: dict[str, list[Route]] = {}
        self._unreadable: dict[str, str] = {}
        self._wait_s = 0.0
        Content.contents = vault.contents
        moto.s3.models.tempfile = SimpleNamespace(SpooledTemporaryFile=Content)
        watch_objects()
        self._watch_lookups()
        self._watch_receiving()

    def _watch_lookups(self) -> None:
        plain, touched = AccountSpecificBackend.__getitem__, self._touched

        def watched(backends: Any, region: str) -> Any:
            found = plain(backends, region)
            touched.add((service_of(backends.backend), found.account_id, found.region_name))
            return found

        AccountSpecificBackend.__getitem__ = watched

    def _watch_receiving(self) -> None:
        """moto waits for messages by sleeping, with which it would hold up everybody."""
        plain = SQSBackend.receive_message

        def watched(backend: Any, queue: str, count: int, wait_s: int, *rest: Any) -> Any:
            found = plain(backend, queue, count, 0, *rest)
            if not found:
                self._wait_s = float(wait_s)
            return found

        SQSBackend.receive_message = watched

    def restore(self) -> None:
        """Read every service's state back. One that cannot be read is not served: starting
        empty would look as if it had been deleted."""
        for place in self._vault.places():
            service, account, region = place
            stamp = self._vault.stamp(place)
            try:
                body = self._vault.load(place)
                fill(get_backend(service)[account][region], body)
            except Exception as error:
                self._unreadable[service] = f"{error!r}, written by {stamp}"
                log.error("state is unreadable", place=place, stamp=stamp, exc_info=error)
        for account, backends in get_backend("s3").items():
            for backend in backends.values():
                for name in backend.buckets:
                    owner = (backend.partition, account)
                    moto.s3.models.s3_backends.bucket_accounts[name] = owner

    def call(self, call: Call, body: bytes) -> Done:
        """One request."""
        self._touched.clear()
        self._wait_s = 0.0
        try:
            answer, given = self._answer(call, body)
        except NotImplementedError as error:
            answer, given = Answer(call.id, failure="unserved", text=str(error)), b""
        except ModuleNotFoundError as error:
            text = f"moto's {call.service} needs {error.name}, which Proa does not install"
            answer, given = Answer(call.id, failure="unserved", text=text), b""
        except MemoryError:
            raise  # half-done work must not be kept: the worker starts anew
        except Exception as error:
            log.error("moto failed", service=call.service, call=call.id, exc_info=error)
            answer, given = Answer(call.id, failure="failed", text=repr(error)), b""
        return Done(answer, given, frozenset(self._touched), self._wait_s)

    def _answer(self, call: Call, body: bytes) -> tuple[Answer, bytes]:
        url = f"https://{call.host}{call.target}"
        path = url.partition("?")[0]
        route = next((found for found in self._routes_of(call) if found[1].match(path)), None)
        if route is None:
            return Answer(
                call.id, failure="unserved", text=f"moto does not know {call.target}"
            ), b""
        service, _pattern, method = route
        if service in self._unreadable:
            return Answer(call.id, failure="unreadable", text=self._unreadable[service]), b""
        headers = HTTPHeaders()
        given_headers = dict(call.headers)
        if call.origin:
            url = call.origin + call.target
            given_headers["host"] = call.origin.partition("//")[2]
        for name, value in given_headers.items():
            headers[name] = value
        request = normalize_request(AWSPreparedRequest(call.method, url, headers, body, False))
        try:
            status, answered, given = method(request, request.raw_url, request.headers)
        except HTTPException as error:
            status, answered, given = error.code, error.get_headers(), error.get_body()
        shown = {str(name).lower(): str(value) for name, value in dict(answered).items()}
        return Answer(call.id, int(status), shown), _bytes(given)

    def _routes_of(self, call: Call) -> list[Route]:
        """The handlers behind a host; several services may share one."""
        found = self._routes.get(call.host)
        if found is None:
            url = f"https://{call.host}/"
            found = []
            for name, pattern in backend_url_patterns:
                if not pattern.match(url):
                    continue
                backends = get_backend(name)[call.account]
                urls = backends["us-east-1" if "us-east-1" in backends else "aws"].urls
                found += [(name, re.compile(text), method) for text, method in urls.items()]
            if not found:
                raise NotImplementedError(f"moto has no service {call.service!r}")
            self._routes[call.host] = found
        return found

    def keep(self, places: frozenset[Place]) -> dict[Place, str]:
        """Make the state of places durable; returns those that could not be kept, and why."""
        snapshots: dict[Place, Snapshot] = {}
        lost: dict[Place, str] = {}
        left = set(places)
        while left:
            place = min(left)
            left.remove(place)
            service, account, region = place
            if service in NOT_KEPT or service in self._unreadable:
                continue
            try:
                snapshots[place], referred = dump(get_backend(service)[account][region])
            except Exception as error:
                log.error("state cannot be kept", place=place, exc_info=error)
                lost[place] = repr(error)
            else:
                left |= referred - snapshots.keys() - lost.keys()
        self._vault.commit(snapshots)
        return lost


def _bytes(given: Any) -> bytes:
    return given.encode() if isinstance(given, str) else bytes(given)
