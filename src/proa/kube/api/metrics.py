"""/metrics of one cluster: requests by verb, resource and status, and how many objects there are.

``server`` counts each answer; ``documents`` shows the counts in Prometheus' text format, under the
names that kube-apiserver's dashboards use.
"""

from __future__ import annotations

from collections import Counter

from proa.kube.api.context import Api
from proa.kube.keys import parse_key
from proa.kube.tables import OBJECTS

SERIES_MAX = 4096  # combinations counted apart; the rest count as "other"
Series = tuple[str, str, str, str]  # verb, group, version, resource
_OTHER = (("OTHER", "", "", ""), 0)


class Counts:
    """Counters since the start of the process."""

    def __init__(self) -> None:
        self._requests: dict[tuple[Series, int], int] = {}

    def request(self, series: Series, code: int) -> None:
        """One answered request."""
        requests, counted = self._requests, (series, code)
        if counted not in requests:
            counted = counted if len(requests) < SERIES_MAX else _OTHER
            requests.setdefault(counted, 0)
        requests[counted] += 1

    def text(self, api: Api) -> str:
        """Everything, in the exposition format."""
        lines = [
            "# HELP apiserver_request_total Counter of apiserver requests.",
            "# TYPE apiserver_request_total counter",
        ]
        for ((verb, group, version, resource), code), count in sorted(self._requests.items()):
            labels = (
                f'code="{code}",group="{group}",resource="{resource}",verb="{verb}",'
                f'version="{version}"'
            )
            lines.append(f"apiserver_request_total{{{labels}}} {count}")
        lines += [
            "# HELP apiserver_storage_objects Number of stored objects by resource.",
            "# TYPE apiserver_storage_objects gauge",
        ]
        stored: Counter[str] = Counter()
        for entry in api.view.rows(OBJECTS).scan(f"/kube/{api.cluster.uid}/"):
            key = parse_key(entry.key)
            stored[f"{key.resource}.{key.group}" if key.group else key.resource] += 1
        lines += [
            f'apiserver_storage_objects{{resource="{name}"}} {count}'
            for name, count in sorted(stored.items())
        ]
        return "\n".join(lines) + "\n"
