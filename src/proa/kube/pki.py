"""The cluster's public key infrastructure: an authority, the server's and the local user's keys.

``server.control`` asks ``ensure`` at each start; what is good is kept, a leaf that is about to
expire or does not fit its key, its names or the authority is issued anew. EC P-256 throughout.
Private keys are files that only their owner may read. Every certificate carries the key
identifiers that strict verifiers ask for (RFC 5280, 4.2.1.1 and 4.2.1.2).

Those are the first cluster's. A further cluster's authority and token key are drawn by
``draw_keys`` and kept, sealed, with its objects; its server's certificate is issued at each start.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proa.base.chance import Chance

YEARS = 10
RENEW_BEFORE = timedelta(days=30)
_BACKDATE = timedelta(hours=1)  # clocks differ
_KEY_BYTES, _SERIAL_BYTES = 32, 19
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


@dataclass(slots=True, frozen=True)
class Files:
    """Where the keys lie, and those that are handed on as text."""

    ca_certificate: Path
    server_certificate: Path
    server_key: Path
    ca_pem: bytes
    admin_pem: bytes
    admin_key_pem: bytes
    token_key_pem: bytes


@dataclass(slots=True, frozen=True)
class ClusterKeys:
    """The authority of a cluster and the key its service account tokens are signed with, PEM."""

    ca_pem: bytes
    ca_key_pem: bytes
    token_key_pem: bytes


class Authority:
    """Signs certificates."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate, self._key = certificate, key

    @classmethod
    def create(cls, now: float, chance: Chance | None = None) -> Authority:
        """A new one, valid for ten years; drawn from ``chance``, everything in it follows from
        that."""
        key = new_key(chance)
        serial = int.from_bytes(chance.token(_SERIAL_BYTES), "big") if chance else 0
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proa")])
        builder = _builder(name, name, key.public_key(), now, serial)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(_usage(sign_certificates=True), True)
        return cls(builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True), key)

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes) -> Authority:
        """One that was made before."""
        key = serialization.load_pem_private_key(key_pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "our keys are elliptic"
        return cls(x509.load_pem_x509_certificate(certificate_pem), key)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return key_bytes(self._key)

    def issue_server(
        self, names: Sequence[str], addresses: Sequence[str], now: float
    ) -> tuple[bytes, bytes]:
        """(certificate, key) of a server with these names and addresses, as PEM."""
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        alternatives += [x509.IPAddress(ip_address(address)) for address in addresses]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
        extension = x509.SubjectAlternativeName(alternatives)
        return self._issue(subject, ExtendedKeyUsageOID.SERVER_AUTH, now, extension)

    def issue_client(self, user: str, groups: Sequence[str], now: float) -> tuple[bytes, bytes]:
        """(certificate, key) of a user: CN is the name, each O a group (x509 client certs)."""
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
        return self._issue(x509.Name(attributes), ExtendedKeyUsageOID.CLIENT_AUTH, now)

    def _issue(
        self,
        subject: x509.Name,
        purpose: x509.ObjectIdentifier,
        now: float,
        extension: x509.SubjectAlternativeName | None = None,
    ) -> tuple[bytes, bytes]:
        key = new_key()
        builder = _builder(subject, self.certificate.subject, key.public_key(), now)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        builder = builder.add_extension(_usage(), True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, False)
        if extension is not None:
            builder = builder.add_extension(extension, False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM), key_bytes(key)


def draw_keys(chance: Chance, now: float) -> ClusterKeys:
    """The keys of a new cluster."""
    authority = Authority.create(now, chance)
    return ClusterKeys(authority.pem, authority.key_pem, key_bytes(new_key(chance)))


def new_key(chance: Chance | None = None) -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key; drawn from ``chance`` as FIPS 186-5 A.2.1 makes one of extra random
    bits."""
    if chance is None:
        return ec.generate_private_key(ec.SECP256R1())
    drawn = int.from_bytes(chance.token(_KEY_BYTES + 8), "big")
    return ec.derive_private_key(drawn % (_ORDER - 1) + 1, ec.SECP256R1())


def key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as unencrypted PKCS#8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: float,
    serial: int = 0,
) -> x509.CertificateBuilder:
    instant = datetime.fromtimestamp(int(now), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(instant - _BACKDATE)
        .not_valid_after(instant + timedelta(days=365 * YEARS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def _usage(sign_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def ensure(folder: Path, *, names: Sequence[str], addresses: Sequence[str], now: float) -> Files:
    """Make what is missing or no longer good below ``folder``. Raises OSError, and ValueError for
    files that are no certificates or keys."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (folder / "ca.key").exists():  # written last: an authority without it is half made
        made = Authority.create(now)
        _write(folder / "ca.crt", made.pem)
        _write(folder / "ca.key", made.key_pem)
    authority = Authority.load((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    server, admin = folder / "server.crt", folder / "admin.crt"
    wanted = {*names, *(str(ip_address(address)) for address in addresses)}
    if not _is_good(server, authority, now) or _alternatives(server) != wanted:
        _write_pair(server, *authority.issue_server(names, addresses, now))
    if not _is_good(admin, authority, now):
        issued = authority.issue_client("kubernetes-admin", ["system:masters"], now)
        _write_pair(admin, *issued)
    if not (folder / "sa.key").exists():
        _write(folder / "sa.key", key_bytes(new_key()))
    return Files(
        ca_certificate=folder / "ca.crt",
        server_certificate=server,
        server_key=folder / "server.key",
        ca_pem=authority.pem,
        admin_pem=admin.read_bytes(),
        admin_key_pem=(folder / "admin.key").read_bytes(),
        token_key_pem=(folder / "sa.key").read_bytes(),
    )


def _is_good(path: Path, authority: Authority, now: float) -> bool:
    """Whether a leaf is there, is this authority's, fits its key and holds for a while yet."""
    key_path = path.with_suffix(".key")
    if not path.exists() or not key_path.exists():
        return False
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    if certificate.public_key() != key.public_key():
        return False
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, InvalidSignature):
        return False
    return certificate.not_valid_after_utc - RENEW_BEFORE > datetime.fromtimestamp(now, UTC)


def _alternatives(path: Path) -> set[str]:
    """The names and addresses that a certificate is for."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = found.get_values_for_type(x509.DNSName)
    return {*names, *(str(address) for address in found.get_values_for_type(x509.IPAddress))}


def _write_pair(path: Path, certificate_pem: bytes, key_pem: bytes) -> None:
    """A crash between the two leaves a pair that does not fit; the next start makes it anew."""
    _write(path.with_suffix(".key"), key_pem)
    _write(path, certificate_pem)


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)  # one left behind may have another mode
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def kubeconfig(
    url: str,
    ca_pem: bytes,
    certificate_pem: bytes,
    key_pem: bytes,
    *,
    cluster: str = "proa",
    namespace: str = "default",
) -> str:
    """A kubeconfig with everything in it; cluster, user and context are called ``cluster``."""
    name = json.dumps(cluster)  # a JSON text is a YAML scalar, whatever is in it
    return f"""\
apiVersion: v1
kind: Config
clusters:
- name: {name}
  cluster:
    server: {json.dumps(url)}
    certificate-authority-data: {_base64(ca_pem)}
users:
- name: {name}
  user:
    client-certificate-data: {_base64(certificate_pem)}
    client-key-data: {_base64(key_pem)}
contexts:
- name: {name}
  context:
    cluster: {name}
    user: {name}
    namespace: {json.dumps(namespace)}
current-context: {name}
"""


def _base64(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
