"""Taking the Host's network down, and saying what is left of it.

``proa down`` calls ``teardown_all`` after the agent and containerd have ended; ``proa doctor``
and the tests call ``leftovers``. Neither needs a running agent.
"""

from __future__ import annotations

import json

from proa.base.config import Config
from proa.base.errors import TryAgain
from proa.node.linux.channel import Channel, drop_namespace, is_namespace, write_sysctl
from proa.node.linux.layout import Layout
from proa.node.linux.nft import run_nft, tables
from proa.node.linux.router import delete_links

OTHERS = "ip proa_"  # how the host tables of all data directories begin


def teardown_all(config: Config) -> None:
    """Remove every link, route, namespace, nftables table and sysctl change of this data
    directory's Proa; what is gone already is no error. Sysctls stay while another Proa runs on
    this machine, which needs them. Needs root."""
    layout = Layout(config.data_dir)
    with Channel() as root:
        delete_links(root, _links(root, layout))  # the routes over them go along
    if layout.netns_dir.is_dir():
        for path in sorted(layout.netns_dir.iterdir()):
            drop_namespace(path)
        layout.netns_dir.rmdir()
    if f"ip {layout.host_table}" in _tables():
        run_nft(f"delete table ip {layout.host_table}\n")
    if layout.saved_sysctls.exists():
        if not any(table.startswith(OTHERS) for table in _tables()):
            for name, value in sorted(json.loads(layout.saved_sysctls.read_text()).items()):
                write_sysctl(name, value)
        layout.saved_sysctls.unlink()


def leftovers(config: Config) -> list[str]:
    """What of this data directory's network still exists, a line each."""
    layout = Layout(config.data_dir)
    with Channel() as root:
        found = [f"link {name}" for name in _links(root, layout)]
    if layout.netns_dir.is_dir():
        paths = sorted(layout.netns_dir.iterdir())
        found += [f"namespace {path}" for path in paths if is_namespace(path)]
    if f"ip {layout.host_table}" in _tables():
        found.append(f"nftables table ip {layout.host_table}")
    if layout.saved_sysctls.exists():
        found.append(f"changed sysctls, saved in {layout.saved_sysctls}")
    return found


def _links(root: Channel, layout: Layout) -> list[str]:
    return [link.name for link in root.links() if link.name.startswith(layout.host_link_prefix)]


def _tables() -> list[str]:
    """No nft, no tables."""
    try:
        return tables()
    except TryAgain:
        return []
