"""Makes the disk of a stock Debian 12 for QEMU: ``build(folder)`` returns what a guest boots from.

The system is what debootstrap and a handful of packages make: kernel, systemd, udev, ssh, what
the README asks for, and, as a guest without hardware support takes a quarter of an hour to unpack
them, the Debian packages that ``make up`` would install (``bare`` leaves them to it). Made once
for a recipe and kept in the folder. Packages come from DEBIAN_MIRROR; how pip and TLS find their
way is taken over from this machine's environment, so that the guest installs from where this
machine would.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
DISK = "16G"
PACKAGES = (
    *("linux-image-cloud-amd64", "systemd-sysv", "libpam-systemd", "dbus", "udev", "kmod"),
    *("ifupdown", "isc-dhcp-client", "iproute2", "openssh-server", "ca-certificates"),
    *("procps", "curl", "less", "cron"),
    *("make", "git", "python3"),  # the README asks for these
)
# Read by pam_env at every login of the guest.
HANDED_ON = (
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "PIP_CERT"),
)
PIP = "PIP_NO_COMPILE=1\n"  # what is never imported need not be compiled
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
FILES = {
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/hostname": "debian\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 debian\n",
    "etc/network/interfaces": "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n",
    "etc/ssh/sshd_config.d/root.conf": "PermitRootLogin prohibit-password\nUseDNS no\n",
}


@dataclass(slots=True, frozen=True)
class Image:
    """What a guest boots from. ``disk`` is shared: guests write to layers above it."""

    disk: Path
    kernel: Path
    initrd: Path
    key: Path  # the private key that root of the guest accepts


def build(folder: Path, setup: Path | None) -> Image:
    """The image below ``folder``, made now if the recipe or the environment has changed, with
    the Debian packages that the script ``setup`` installs, if one is given."""
    mirror = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
    installed = setup.read_bytes() if setup else b""
    recipe = (installed, mirror, _environment(), Path(__file__).read_bytes())
    home = folder / hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]
    image = Image(home / "disk.img", home / "vmlinuz", home / "initrd.img", home / "key")
    if image.disk.exists():
        return image
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(image.key))
    root = home / "root"
    try:
        include = f"--include={','.join(PACKAGES)}"
        _run("debootstrap", "--variant=minbase", include, SUITE, str(root), mirror)
        if setup:
            _install(root, setup)
        _configure(root, image.key.with_suffix(".pub").read_text())
        for name, target in (("vmlinuz", image.kernel), ("initrd.img", image.initrd)):
            (found,) = (root / "boot").glob(f"{name}-*")
            shutil.copyfile(found, target)
        partial = home / "disk.partial"
        _run("mkfs.ext4", "-q", "-F", "-d", str(root), str(partial), DISK)
        partial.rename(image.disk)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return image


def wheels(folder: Path, requirements: tuple[str, ...], top: Path) -> Path:
    """A disk of every Python package that ``requirements`` need, as a directory for pip's
    --find-links: reading an index takes a slow guest longer than all the rest. Relative
    requirements (".[build]") are those of the project at ``top``."""
    parts = (requirements, (top / "pyproject.toml").read_bytes())
    disk = folder / f"wheels-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}.img"
    if not disk.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            pip = (sys.executable, "-m", "pip", "download", "-q", "-d", scratch)
            _run(*pip, *(word.replace(".[", f"{top}[") for word in requirements))
            _run("mkfs.ext4", "-q", "-F", "-d", scratch, f"{disk}.partial", "1G")
        Path(f"{disk}.partial").rename(disk)
    return disk


def _environment() -> str:
    handed_on = (f"{name}={os.environ[name]}\n" for name in HANDED_ON if name in os.environ)
    return PIP + "".join(handed_on)


def _install(root: Path, setup: Path) -> None:
    scratch = root / "opt/setup/tools"
    scratch.mkdir(parents=True)
    shutil.copy(setup, scratch)
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
    _run("chroot", str(root), f"/opt/setup/tools/{setup.name}", "debian")
    shutil.rmtree(scratch.parent)
    (root / "etc/resolv.conf").unlink()


def _configure(root: Path, public_key: str) -> None:
    for name, text in FILES.items():
        (root / name).write_text(text)
    (root / "etc/environment").write_text(_environment())
    if CERTIFICATES.exists():
        shutil.copyfile(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    keys = root / "root/.ssh/authorized_keys"
    keys.parent.mkdir(mode=0o700, exist_ok=True)
    keys.write_text(public_key)
    (root / "etc/machine-id").write_text("")  # made at the first boot
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
