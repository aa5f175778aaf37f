"""What kubectl shows of volumes, claims, storage classes and drivers."""

from __future__ import annotations

from proa.kube.schema.printers.common import (
    AGE,
    JSON,
    NAME,
    UNSET,
    Column,
    at,
    boolean,
    count,
    or_unset,
)

_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


def _modes(path: str) -> Column:
    def cell(obj: JSON, now: float) -> str:
        given = at(obj, path, ())
        return ",".join(short for mode, short in _MODES.items() if mode in given)

    return Column("Access Modes", cell)


def _phase(obj: JSON, now: float) -> str:
    if at(obj, "metadata.deletionTimestamp"):
        return "Terminating"
    return str(at(obj, "status.phase", ""))


def _claim(volume: JSON, now: float) -> str:
    claim = at(volume, "spec.claimRef")
    return f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""


def _class(obj: JSON, now: float) -> str:
    old = at(obj, "metadata.annotations", {}).get(OLD_CLASS)
    return str(old if old is not None else at(obj, "spec.storageClassName", ""))


def _bound(path: str) -> Column:
    """What a claim got, once it is bound."""
    title = {"status.capacity.storage": "Capacity", "spec.volumeName": "Volume"}[path]

    def cell(claim: JSON, now: float) -> str:
        if title == "Capacity" and not at(claim, "spec.volumeName"):
            return ""
        return str(at(claim, path, ""))

    return Column(title, cell)


def _volume_mode(obj: JSON, now: float) -> str:
    return str(at(obj, "spec.volumeMode", UNSET))


def _class_name(storage: JSON, now: float) -> str:
    name = str(at(storage, "metadata.name", ""))
    default = at(storage, "metadata.annotations", {}).get(DEFAULT_CLASS) == "true"
    return f"{name} (default)" if default else name


def _claim_state(claim: JSON, now: float) -> str:
    states = []
    if at(claim, "metadata.deletionTimestamp"):
        states.append("deleted")
    states.append("allocated" if at(claim, "status.allocation") else "pending")
    if at(claim, "status.reservedFor"):
        states.append("reserved")
    return ",".join(states)


ATTRIBUTES = Column("VolumeAttributesClass", or_unset("spec.volumeAttributesClassName"))

STORAGE: dict[tuple[str, str], list[Column]] = {
    ("", "persistentvolumes"): [
        NAME,
        Column("Capacity", "spec.capacity.storage"),
        _modes("spec.accessModes"),
        Column("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
        Column("Status", _phase),
        Column("Claim", _claim),
        Column("StorageClass", _class),
        ATTRIBUTES,
        Column("Reason", "status.reason"),
        AGE,
        Column("VolumeMode", _volume_mode, 1),
    ],
    ("", "persistentvolumeclaims"): [
        NAME,
        Column("Status", _phase),
        _bound("spec.volumeName"),
        _bound("status.capacity.storage"),
        _modes("status.accessModes"),
        Column("StorageClass", _class),
        ATTRIBUTES,
        AGE,
        Column("VolumeMode", _volume_mode, 1),
    ],
    ("storage.k8s.io", "storageclasses"): [
        Column("Name", _class_name),
        Column("Provisioner", "provisioner"),
        Column("ReclaimPolicy", "reclaimPolicy"),
        Column("VolumeBindingMode", "volumeBindingMode"),
        Column("AllowVolumeExpansion", boolean("allowVolumeExpansion")),
        AGE,
    ],
    ("storage.k8s.io", "volumeattachments"): [
        NAME,
        Column("Attacher", "spec.attacher"),
        Column("PV", "spec.source.persistentVolumeName"),
        Column("Node", "spec.nodeName"),
        Column("Attached", boolean("status.attached")),
        AGE,
    ],
    ("storage.k8s.io", "csidrivers"): [
        NAME,
        Column("AttachRequired", boolean("spec.attachRequired")),
        Column("PodInfoOnMount", boolean("spec.podInfoOnMount")),
        Column("StorageCapacity", boolean("spec.storageCapacity")),
        Column("Modes", lambda obj, now: ",".join(at(obj, "spec.volumeLifecycleModes", ()))),
        AGE,
    ],
    ("storage.k8s.io", "csinodes"): [
        NAME,
        Column("Drivers", count("spec.drivers"), type="integer"),
        AGE,
    ],
    ("storage.k8s.io", "volumeattributesclasses"): [NAME, Column("DriverName", "driverName"), AGE],
    ("resource.k8s.io", "resourceclaims"): [NAME, Column("State", _claim_state), AGE],
}
