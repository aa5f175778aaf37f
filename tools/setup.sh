#!/bin/sh
# Installs what Proa needs on a Debian machine: tools/setup.sh run | test | vm | debian
# "run" is what `make up` needs, "test" adds what the tests drive, "vm" what `make test-vm` boots;
# "debian" stops after the Debian packages of "run". Only what is missing is installed; services
# that it brings along are not started, now or with the machine: Proa runs its own.
set -eu

purpose=${1:-run}
top=$(cd "$(dirname "$0")/.." && pwd)
venv=$top/.venv
cd "$top"

say() { printf '%s\n' "proa setup: $*"; }
fail() { say "$*" >&2; exit 1; }

packages="containerd runc containernetworking-plugins nftables iproute2 gcc libc6-dev
busybox-static nginx-light awscli ca-certificates"
case $purpose in
    run | debian) extra=build ;;
    test) extra=build,dev packages="$packages skopeo buildah podman etcd-server" ;;
    vm) extra=build,dev packages="qemu-system-x86 debootstrap e2fsprogs openssh-client" ;;
    *) fail "there is nothing to install for $purpose" ;;
esac

[ "$(uname -s)" = Linux ] || fail "containers need Linux: run this in a Linux virtual machine"
[ "$(id -u)" = 0 ] || fail "not root: run it with sudo"
# Debian's own Python comes first: built with profiles and as one binary, it runs Proa a tenth to a
# sixth faster than what version managers compile. PYTHON=… chooses another.
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
python=${PYTHON:-/usr/bin/python3}
[ -n "${PYTHON:-}" ] || is_new_enough "$python" || python=python3
is_new_enough "$python" || fail "no Python 3.11 or newer: apt-get install python3"

"$python" -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"

missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
        missing="$missing $package"
done
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || fail "no apt-get; install by hand:$missing"
    say "installing$missing"
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || fail "apt-get update failed"
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >"$top/.setup.log" 2>&1 ||
        fail "apt-get could not install$missing: see .setup.log"
    rm -f "$top/.setup.log"
    for service in containerd nginx etcd; do
        case $missing in *" $service"*) systemctl -q disable "$service" 2>/dev/null || true ;; esac
    done
fi
[ "$purpose" = debian ] && exit

stamp=$venv/.installed-$purpose
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ tools/setup.sh -nt "$stamp" ]; then
    say "installing Python packages into .venv"
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -e ".[$extra]"
    touch "$stamp"
fi

"$venv/bin/python" tools/build_stubs.py
"$venv/bin/python" tools/clients.py "$venv/clients"

# So that no start compiles: an installation need not be writable, or may forbid to write bytecode.
"$venv/bin/python" -m compileall -q src || true
