"""Keys and certificates: made once, good for real TLS, renewed when they no longer fit."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from proa.base.clock import SystemClock
from proa.kube import pki
from proa.kube.api.authn import user_of_certificate

NOW = 1_700_000_000.0
DAY = 86_400.0
SERVED = {"names": ["localhost", "kubernetes.default.svc"], "addresses": ["127.0.0.1", "::1"]}


def ensure(folder: Path, now: float = NOW, **changed: list[str]) -> pki.Files:
    return pki.ensure(folder, **{**SERVED, **changed}, now=now)


def certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def handshake(files: pki.Files, host: str) -> bytes | None:
    """A TLS handshake in memory with both certificates checked strictly; the client's as DER."""
    folder = files.server_certificate.parent
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.server_certificate, files.server_key)
    server.load_verify_locations(files.ca_certificate)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(files.ca_certificate)
    client.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    for context in (server, client):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert not waiting
    return ends[1].getpeercert(binary_form=True)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_the_certificates_carry_a_strict_handshake_that_names_the_user(
    tmp_path: Path, host: str
) -> None:
    der = handshake(ensure(tmp_path / "pki", now=_today()), host)
    assert der is not None
    user = user_of_certificate(der)
    assert user.name == "kubernetes-admin"
    assert user.groups == ("system:masters", "system:authenticated")


def test_a_handshake_by_another_name_fails(tmp_path: Path) -> None:
    files = ensure(tmp_path / "pki", now=_today())
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(files, "elsewhere")


def _today() -> float:
    return SystemClock().now()  # OpenSSL checks against the machine's clock


def test_everything_is_made_once_and_keys_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    ensure(folder)
    made = contents(folder)
    assert set(made) == {
        *("ca.crt", "ca.key", "server.crt", "server.key", "admin.crt", "admin.key", "sa.key")
    }
    for path in folder.glob("*.key"):
        assert path.stat().st_mode & 0o777 == 0o600
    ensure(folder, now=NOW + 365 * DAY)
    assert contents(folder) == made


def test_other_names_renew_the_server_certificate_alone(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    ensure(folder)
    before = contents(folder)
    ensure(folder, addresses=["127.0.0.1", "10.96.0.1"])
    after = contents(folder)
    assert {name for name in before if before[name] != after[name]} == {"server.crt", "server.key"}
    names = certificate(after["server.crt"]).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == SERVED["names"]
    found = names.value.get_values_for_type(x509.IPAddress)
    assert [str(address) for address in found] == ["127.0.0.1", "10.96.0.1"]


def test_the_same_address_written_otherwise_renews_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    ensure(folder)
    before = contents(folder)
    ensure(folder, addresses=["0:0:0:0:0:0:0:1", "127.0.0.1"])
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["server", "admin"])
def test_leaves_that_are_not_good_are_issued_anew(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "pki"
    ensure(folder)
    first = contents(folder)

    (folder / f"{name}.key").write_bytes(pki.key_bytes(pki.new_key()))  # a crash between the two
    ensure(folder)
    second = contents(folder)
    assert second[f"{name}.crt"] != first[f"{name}.crt"]
    assert second["ca.crt"] == first["ca.crt"]

    ensure(folder, now=NOW + (365 * pki.YEARS - 20) * DAY)  # twenty days before the end
    third = contents(folder)
    assert third[f"{name}.crt"] != second[f"{name}.crt"]

    (folder / "ca.key").unlink()  # another authority
    ensure(folder)
    fourth = contents(folder)
    assert fourth["ca.crt"] != third["ca.crt"]
    issued = certificate(fourth[f"{name}.crt"])
    issued.verify_directly_issued_by(certificate(fourth["ca.crt"]))


def test_a_client_certificate_is_verified_by_its_authority_only() -> None:
    ours, other = pki.Authority.create(NOW), pki.Authority.create(NOW)
    pem, _ = ours.issue_client("ann", ["dev", "ops"], NOW)
    leaf = certificate(pem)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    leaf.verify_directly_issued_by(pki.Authority.load(ours.pem, ours.key_pem).certificate)
    with pytest.raises(InvalidSignature):
        leaf.verify_directly_issued_by(other.certificate)


def test_a_kubeconfig_holds_everything(tmp_path: Path) -> None:
    files = ensure(tmp_path / "pki")
    text = pki.kubeconfig(
        "https://127.0.0.1:6443", files.ca_pem, files.admin_pem, files.admin_key_pem
    )
    config = yaml.safe_load(text)
    context = config["contexts"][0]
    assert config["current-context"] == context["name"] == "proa"
    assert context["context"] == {"cluster": "proa", "user": "proa", "namespace": "default"}
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    assert cluster["server"] == "https://127.0.0.1:6443"
    assert base64.b64decode(cluster["certificate-authority-data"]) == files.ca_pem
    assert base64.b64decode(user["client-certificate-data"]) == files.admin_pem
    assert base64.b64decode(user["client-key-data"]) == files.admin_key_pem
