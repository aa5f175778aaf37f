"""Key pairs. A private key is made, answered once, and kept nowhere.

Fingerprints are AWS's: SHA-1 of the private key in PKCS#8 for RSA keys that EC2 made, MD5 of the
public key for imported RSA ones, SHA-256 for ED25519 (EC2 guide, "Verify the fingerprint of your
public key").
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from proa.aws.ec2 import shown, shown_edges
from proa.aws.ec2.base import Decision, Ec2, creation, invalid, missing, removal, specified_tags
from proa.aws.ec2.kinds import KEY
from proa.aws.ec2.select import Fields, described
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network.edges import KEY_PAIRS, KeyPair
from proa.cloud.network.records import Tags
from proa.reconcile.view import Entry
from proa.store.api import Delete, Guard, Put

_FIELDS: Fields[KeyPair] = {
    "key-pair-id": lambda one: (one.id,),
    "key-name": lambda one: (one.name,),
    "fingerprint": lambda one: (one.fingerprint,),
}


def _colons(digest: bytes) -> str:
    return ":".join(f"{byte:02x}" for byte in digest)


def _ssh(key: Any) -> bytes:
    text: bytes = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return text


def _sha256(public: bytes) -> str:
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return base64.b64encode(digest).decode()


def _drawn(type: str) -> tuple[str, str, str]:
    """Private key, public key, fingerprint."""
    if type == "ed25519":
        drawn = ed25519.Ed25519PrivateKey.generate()
        pem = drawn.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = _ssh(drawn.public_key())
        return pem.decode(), public.decode(), _sha256(public)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    fingerprint = _colons(hashlib.sha1(der, usedforsecurity=False).digest())
    return pem.decode(), _ssh(key.public_key()).decode(), fingerprint


def _imported(material: bytes) -> tuple[str, str, str]:
    """Type, public key, fingerprint. Raises InvalidKey.Format."""
    if not material.startswith(b"ssh-"):
        with contextlib.suppress(binascii.Error):  # then it is no key in either form
            material = base64.b64decode(material, validate=True)
    try:
        key = serialization.load_ssh_public_key(material)
    except (ValueError, UnsupportedAlgorithm) as error:
        message = "Key is not in valid OpenSSH public key format"
        raise AwsError("InvalidKey.Format", message) from error
    public = _ssh(key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519", public.decode(), _sha256(public)
    if isinstance(key, rsa.RSAPublicKey):
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = hashlib.md5(der, usedforsecurity=False).digest()
        return "rsa", public.decode(), _colons(digest)
    raise AwsError("InvalidKey.Format", "Only RSA and ED25519 keys are supported")


def _by_name(ec2: Ec2, context: Context, name: str) -> list[Entry[KeyPair]]:
    return ec2.view.rows(KEY_PAIRS).by("name", f"{context.account}/{context.region}/{name}")


async def _keep(
    ec2: Ec2, context: Context, name: str, fields: tuple[str, str, str], tags: Tags
) -> KeyPair:
    type, public, fingerprint = fields
    place = (context.account, context.region)
    made = KeyPair(
        ec2.new_id("key"), *place, name, type, fingerprint, public.strip(), context.now, tags
    )
    put, guard = creation(made, KEY.name)
    taken = f"/aws/{context.account}/{context.region}/ec2/key-name/{name.encode().hex()}"

    def decide() -> Decision[KeyPair]:
        if _by_name(ec2, context, name):
            message = f"The keypair '{name}' already exists."
            raise AwsError("InvalidKeyPair.Duplicate", message)
        return Decision(made, (put, Put(taken, made.id.encode())), (guard, Guard(taken, 0)))

    return await ec2.write(decide)


async def create_key_pair(ec2: Ec2, context: Context, given: Input) -> Output:
    """The only answer that holds the private key."""
    type, tags = given.get("KeyType", "rsa"), specified_tags(given, "key-pair")
    if type not in ("rsa", "ed25519"):
        raise invalid(type, "keyType")
    if given.get("KeyFormat", "pem") != "pem":
        raise invalid(given["KeyFormat"], "keyFormat", "Only pem is served.")
    private, public, fingerprint = _drawn(type)
    made = await _keep(ec2, context, given["KeyName"], (type, public, fingerprint), tags)
    return {**_shown(made), "KeyMaterial": private}


async def import_key_pair(ec2: Ec2, context: Context, given: Input) -> Output:
    tags, fields = specified_tags(given, "key-pair"), _imported(given["PublicKeyMaterial"])
    return _shown(await _keep(ec2, context, given["KeyName"], fields, tags))


def _shown(one: KeyPair) -> Output:
    return {
        "KeyPairId": one.id,
        "KeyName": one.name,
        "KeyFingerprint": one.fingerprint,
        "Tags": shown.tags(one.tags),
    }


async def describe_key_pairs(ec2: Ec2, context: Context, given: Input) -> Output:
    ids = list(given.get("KeyPairIds") or ())
    for name in given.get("KeyNames") or ():
        found = _by_name(ec2, context, name)
        if not found:
            raise KEY.absent(name)
        ids.append(found[0].value.id)
    pairs, _more = described(ec2, context, KEY, given, ids, _FIELDS)
    with_public = bool(given.get("IncludePublicKey"))
    return {"KeyPairs": [shown_edges.key_pair(one, with_public) for one in pairs]}


async def delete_key_pair(ec2: Ec2, context: Context, given: Input) -> Output:
    """By name or id; deleting what is not there succeeds."""
    name, id = given.get("KeyName"), given.get("KeyPairId")
    if not name and not id:
        raise missing("keyName")

    def decide() -> Decision[str]:
        found = [e for e in ec2.entries(context, KEY) if e.value.id == id or e.value.name == name]
        if not found:
            return Decision("")
        gone, one = removal(found), found[0].value
        taken = f"/aws/{one.account}/{one.region}/ec2/key-name/{one.name.encode().hex()}"
        return Decision(one.id, (*gone.writes, Delete(taken)), gone.guards)

    return {"Return": True, "KeyPairId": await ec2.write(decide) or None}


OPERATIONS = {
    "CreateKeyPair": create_key_pair,
    "ImportKeyPair": import_key_pair,
    "DescribeKeyPairs": describe_key_pairs,
    "DeleteKeyPair": delete_key_pair,
}
