"""A pod's volumes: directories, rendered files, paths of the Host.

Rules: "Volumes", "Projected Volumes", "Expose Pod Information to Containers Through Files". A
volume that cannot be rendered yet blocks every container of the pod, in the kubelet's words.
"""

from __future__ import annotations

from collections.abc import Mapping

from proa.base.quantity import bytes_of
from proa.kube.compile.environment import (
    config_map_data,
    field_value,
    resource_value,
    secret_data,
)
from proa.kube.compile.sources import Json, Missing, Sources, TokenRequest
from proa.model.sandbox import File, Volume

_MODE = 0o644
_TOKEN_S = 3600
_SOURCES = {"name"}


def volumes(pod: Json, cluster: str, sources: Sources) -> tuple[tuple[Volume, ...], str]:
    """(volumes, why they cannot be set up yet)."""
    made: list[Volume] = []
    problem = ""
    for item in pod["spec"].get("volumes") or ():
        try:
            made.append(_volume(item, pod, cluster, sources))
        except Missing as error:
            text = f'MountVolume.SetUp failed for volume "{item["name"]}" : {error}'
            problem = problem or text
            made.append(Volume(item["name"], kind="files"))
    return tuple(made), problem


def _volume(item: Json, pod: Json, cluster: str, sources: Sources) -> Volume:
    name = item["name"]
    if "hostPath" in item:
        path = item["hostPath"]
        return Volume(name, kind="host", path=path["path"], path_type=path.get("type") or "")
    for kind in ("configMap", "secret", "downwardAPI", "projected"):
        if kind in item:
            files = _files(kind, item[kind], pod, cluster, sources)
            return Volume(name, kind="files", files=tuple(files[path] for path in sorted(files)))
    other = sorted(set(item) - _SOURCES - {"emptyDir"})
    if other:
        raise Missing(f"volumes of type {other[0]} are not supported")
    empty = item.get("emptyDir") or {}
    limit = empty.get("sizeLimit")
    return Volume(name, medium=empty.get("medium") or "", size_limit=bytes_of(limit or 0))


def _files(kind: str, source: Json, pod: Json, cluster: str, sources: Sources) -> dict[str, File]:
    mode = source.get("defaultMode")
    mode = _MODE if mode is None else int(mode)
    if kind == "projected":
        found: dict[str, File] = {}
        for part in source.get("sources") or ():
            found.update(_projected(part, mode, pod, cluster, sources))
        return found
    if kind == "downwardAPI":
        return _downward(source, mode, pod, sources)
    if kind == "configMap":
        return _keyed(source, config_map_data(source, sources), mode, "config")
    return _keyed(source, secret_data(source, sources), mode, "secret")


def _projected(part: Json, mode: int, pod: Json, cluster: str, sources: Sources) -> dict[str, File]:
    if "configMap" in part:
        source = part["configMap"]
        return _keyed(source, config_map_data(source, sources), mode, "config")
    if "secret" in part:
        source = part["secret"]
        return _keyed(source, secret_data(source, sources), mode, "secret")
    if "downwardAPI" in part:
        return _downward(part["downwardAPI"], mode, pod, sources)
    if "serviceAccountToken" not in part:
        raise Missing(f"projected sources of type {', '.join(sorted(part))} are not supported")
    source, meta = part["serviceAccountToken"], pod["metadata"]
    request = TokenRequest(
        cluster=cluster,
        namespace=meta.get("namespace", ""),
        service_account=pod["spec"].get("serviceAccountName") or "default",
        audience=source.get("audience") or "",
        expiration_s=int(source.get("expirationSeconds") or _TOKEN_S),
        pod=meta["name"],
        pod_uid=meta["uid"],
        node=pod["spec"].get("nodeName", ""),
    )
    content = sources.tokens(request).encode()
    return {source["path"]: File(source["path"], content, mode)}


def _keyed(source: Json, data: Mapping[str, bytes], mode: int, kind: str) -> dict[str, File]:
    """All keys as files, or those of ``items`` at their paths."""
    items = source.get("items")
    if not items:
        return {key: File(key, data[key], mode) for key in data}
    files: dict[str, File] = {}
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            raise Missing(f"references non-existent {kind} key: {item['key']}")
        own = item.get("mode")
        path = item["path"]
        files[path] = File(path, data[item["key"]], mode if own is None else int(own))
    return files


def _downward(source: Json, mode: int, pod: Json, sources: Sources) -> dict[str, File]:
    files: dict[str, File] = {}
    for item in source.get("items") or ():
        if "fieldRef" in item:
            text = field_value(item["fieldRef"]["fieldPath"], pod, sources)
        else:
            text = resource_value(item["resourceFieldRef"], pod, {}, sources)
        own = item.get("mode")
        path = item["path"]
        files[path] = File(path, text.encode(), mode if own is None else int(own))
    return files


def blocked_all(problem: str) -> str:
    """How containers say that a volume is not there."""
    return f"ContainerCreating: {problem}" if problem else ""
