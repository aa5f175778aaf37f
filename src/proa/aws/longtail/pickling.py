"""How moto's backends become bytes and come back.

A backend is pickled as its attributes; references to backends, to itself and to other services'
ones, become names, so that each place's state stands alone. Locks come back unlocked, threads do
not come back, private keys travel as PKCS #8. What a function closes over is cloudpickle's work:
moto holds lambdas. How a type is reduced is decided once, since every write reduces everything.
``dump`` and ``fill`` are called by the worker only.
"""

from __future__ import annotations

import io
import pickle
import threading
import types
import weakref
import zlib
from collections.abc import Callable
from typing import Any, get_args

import cloudpickle
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import types as keys
from moto.backends import get_backend
from moto.core.base_backend import AccountSpecificBackend, BackendDict, BaseBackend
from moto.s3.models import FakeKey

from proa.aws.longtail.vault import Place, Snapshot


def service_of(thing: type) -> str:
    """moto's name of the service that a backend's class belongs to."""
    return thing.__module__.split(".")[1]


def place_of(backend: Any) -> Place:
    """Where a backend's state belongs."""
    return service_of(type(backend)), backend.account_id, backend.region_name


def _nothing() -> None:
    return None


def _key(packed: bytes, sample: bytes) -> Any:
    """An S3 object without reading its content, which FakeKey's own pickling would."""
    made = FakeKey.__new__(FakeKey)
    state = zlib.decompressobj(zdict=sample).decompress(packed)
    made.__dict__.update(pickle.loads(state), lock=threading.Lock())
    return made


_samples: list[bytes] = []  # the first object's state: all others are much like it
_WINDOW = 32 * 1024  # what zlib takes of a sample
_SAVED = "_proa_saved"  # an object's pickled state, until the object changes


def watch_objects() -> None:
    """Let S3's objects forget their pickled state when they change, which they do by setting an
    attribute or by ``set_metadata``: a bucket of many is pickled at every write to it."""
    plain_set, plain_metadata = FakeKey.__setattr__, FakeKey.set_metadata

    def set_attribute(key: Any, name: str, value: Any) -> None:
        key.__dict__.pop(_SAVED, None)
        plain_set(key, name, value)

    def set_metadata(key: Any, *given: Any, **named: Any) -> None:
        key.__dict__.pop(_SAVED, None)
        plain_metadata(key, *given, **named)

    FakeKey.__setattr__, FakeKey.set_metadata = set_attribute, set_metadata


def _private_key(der: bytes) -> Any:
    return serialization.load_der_private_key(der, None)


def _public_key(der: bytes) -> Any:
    return serialization.load_der_public_key(der)


def _certificate(der: bytes) -> Any:
    return x509.load_der_x509_certificate(der)


def _named(*path: str) -> Any:
    """Backends by their names: of a service, of an account, of a region."""
    found = get_backend(path[0])
    for part in path[1:]:
        found = found[part]
    return found


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.digests: set[str] = set()
        self.places: set[Place] = set()

    def reducer_override(self, thing: Any) -> Any:
        kind = type(thing)
        reduce = _REDUCERS.get(kind)
        if reduce is None:
            reduce = _REDUCERS[kind] = _reducer_of(kind)
        return reduce(self, thing)

    def by_cloudpickle(self, thing: Any) -> Any:
        """Classes and functions, by value where they have no name."""
        return super().reducer_override(thing)

    def backend(self, thing: Any) -> Any:
        """A reference to a backend."""
        place = place_of(thing)
        self.places.add(place)
        return _named, place

    def add_contents(self, thing: Any) -> None:
        """Note the bytes that an S3 object, and the upload that it was made by, refer to."""
        content = thing._value_buffer
        if content.digest:
            self.digests.add(content.digest)
        if thing.multipart is not None:
            for part in thing.multipart.parts.values():
                self.add_contents(part)


Reduce = Callable[[_Pickler, Any], Any]


def _object(pickler: _Pickler, thing: Any) -> Any:
    saved = thing.__dict__.get(_SAVED)
    if saved is None:
        saved = _packed(thing)
        if thing.multipart is None:
            thing.__dict__[_SAVED] = saved
    pickler.add_contents(thing)
    return _key, saved


def _packed(thing: Any) -> tuple[bytes, bytes]:
    """An object's state, compressed against the sample, and the sample."""
    state = {name: value for name, value in thing.__dict__.items() if name != "lock"}
    file = io.BytesIO()
    _Pickler(file).dump(state)
    if not _samples:
        _samples.append(file.getvalue()[-_WINDOW:])
    packer = zlib.compressobj(level=1, zdict=_samples[0])
    return packer.compress(file.getvalue()) + packer.flush(), _samples[0]


def _private(_pickler: _Pickler, thing: Any) -> Any:
    der = thing.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return _private_key, (der,)


def _public(_pickler: _Pickler, thing: Any) -> Any:
    der = thing.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _public_key, (der,)


_REDUCERS: dict[type, Reduce] = {
    FakeKey: _object,
    type(threading.Lock()): lambda _pickler, _thing: (threading.Lock, ()),
    type(threading.RLock()): lambda _pickler, _thing: (threading.RLock, ()),
    weakref.ref: lambda _pickler, thing: (weakref.ref, (thing(),)),
}
_KINDS: tuple[tuple[tuple[type, ...], Reduce], ...] = (
    ((BaseBackend,), _Pickler.backend),
    ((AccountSpecificBackend,), lambda _p, thing: (
        _named, (service_of(thing.backend), thing.account_id))),
    ((BackendDict,), lambda _p, thing: (_named, (service_of(thing.backend),))),
    ((threading.Thread,), lambda _p, _thing: (_nothing, ())),
    (get_args(keys.PrivateKeyTypes), _private),
    (get_args(keys.PublicKeyTypes), _public),
    ((x509.Certificate,), lambda _p, thing: (
        _certificate, (thing.public_bytes(serialization.Encoding.DER),))),
    ((type, types.FunctionType), _Pickler.by_cloudpickle),
)  # fmt: skip


def _reducer_of(kind: type) -> Reduce:
    for kinds, reduce in _KINDS:
        if issubclass(kind, kinds):
            return reduce
    return lambda _pickler, _thing: NotImplemented


def dump(backend: Any) -> tuple[Snapshot, set[Place]]:
    """A backend's state, and the places it refers to, which a call may have changed through it.
    Raises what pickle raises for what cannot be pickled."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(backend.__dict__)
    return Snapshot(file.getvalue(), frozenset(pickler.digests)), pickler.places


def fill(backend: Any, body: bytes) -> None:
    """Give a backend the state that ``dump`` made. Raises what unpickling raises."""
    state = pickle.loads(body)
    backend.__dict__.clear()
    backend.__dict__.update(state)
