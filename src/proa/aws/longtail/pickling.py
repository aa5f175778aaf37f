"""How moto's backends become bytes and come back.

A backend is pickled as its attributes; references to backends, to itself and to other services'
ones, become names, so that each place's state stands alone. Locks come back unlocked, threads do
not come back, private keys travel as PKCS #8. What a function closes over is cloudpickle's work:
moto holds lambdas. ``dump`` and ``fill`` are called by the worker only.
"""

from __future__ import annotations

import io
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any, get_args

import cloudpickle
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import types as keys
from moto.core.base_backend import AccountSpecificBackend, BackendDict, BaseBackend
from moto.s3.models import FakeKey

from proa.aws.longtail.vault import Content, Place, Snapshot

Find = Callable[[str], Any]
_LOCK, _RLOCK = type(threading.Lock()), type(threading.RLock())
_PRIVATE = get_args(keys.PrivateKeyTypes)
_PUBLIC = get_args(keys.PublicKeyTypes)


def service_of(thing: type) -> str:
    """moto's name of the service that a backend's class belongs to."""
    return thing.__module__.split(".")[1]


def place_of(backend: Any) -> Place:
    """Where a backend's state belongs."""
    return service_of(type(backend)), backend.account_id, backend.region_name


def _nothing() -> None:
    return None


def _key(state: dict[str, Any]) -> Any:
    """An S3 object without reading its content, which FakeKey's own pickling would."""
    made = FakeKey.__new__(FakeKey)
    made.__dict__.update(state, lock=threading.Lock())
    return made


def _private_key(der: bytes) -> Any:
    return serialization.load_der_private_key(der, None)


def _public_key(der: bytes) -> Any:
    return serialization.load_der_public_key(der)


def _certificate(der: bytes) -> Any:
    return x509.load_der_x509_certificate(der)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.digests: set[str] = set()
        self.places: set[Place] = set()

    def persistent_id(self, thing: Any) -> Any:
        if isinstance(thing, BaseBackend):
            place = place_of(thing)
            self.places.add(place)
            return ("backend", *place)
        if isinstance(thing, AccountSpecificBackend):
            return "account", service_of(thing.backend), thing.account_id
        if isinstance(thing, BackendDict):
            return "service", service_of(thing.backend)
        return None

    def reducer_override(self, thing: Any) -> Any:
        kind = type(thing)
        if kind is Content:
            if thing.digest:
                self.digests.add(thing.digest)
            return NotImplemented
        if kind is FakeKey:
            state = {name: value for name, value in thing.__dict__.items() if name != "lock"}
            return _key, (state,)
        if kind is _LOCK:
            return threading.Lock, ()
        if kind is _RLOCK:
            return threading.RLock, ()
        if isinstance(thing, threading.Thread):
            return _nothing, ()
        if kind is weakref.ref:
            return weakref.ref, (thing(),)
        return self._reduce_key(thing)

    def _reduce_key(self, thing: Any) -> Any:
        if isinstance(thing, _PRIVATE):
            der = thing.private_bytes(
                serialization.Encoding.DER,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            return _private_key, (der,)
        if isinstance(thing, _PUBLIC):
            der = thing.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return _public_key, (der,)
        if isinstance(thing, x509.Certificate):
            return _certificate, (thing.public_bytes(serialization.Encoding.DER),)
        return super().reducer_override(thing)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, find: Find) -> None:
        super().__init__(file)
        self._find = find

    def persistent_load(self, name: Any) -> Any:
        found = self._find(name[1])
        for part in name[2:]:
            found = found[part]
        return found


def dump(backend: Any) -> tuple[Snapshot, set[Place]]:
    """A backend's state, and the places it refers to, which a call may have changed through it.
    Raises what pickle raises for what cannot be pickled."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(backend.__dict__)
    return Snapshot(file.getvalue(), frozenset(pickler.digests)), pickler.places


def fill(backend: Any, body: bytes, find: Find) -> None:
    """Give a backend the state that ``dump`` made; ``find`` gives a service's backends by moto's
    name. Raises what unpickling raises."""
    state = _Unpickler(io.BytesIO(body), find).load()
    backend.__dict__.clear()
    backend.__dict__.update(state)
