"""Bad input over the Kubernetes API: each kind gets its status, reason and words, and nothing is
written.

Raw HTTPS with the cluster administrator's certificate, since kubectl refuses some of it itself.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live import Proa

SPACE = "/api/v1/namespaces/bad"
MAPS, PODS, SECRETS = f"{SPACE}/configmaps", f"{SPACE}/pods", f"{SPACE}/secrets"
APPS = "/apis/apps/v1/namespaces/bad/deployments"
JOBS = "/apis/batch/v1/namespaces/bad/jobs"
JSON, YAML, TEXT = "application/json", "application/yaml", "text/plain"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
STRICT = "?fieldValidation=Strict"


class Raw:
    """Requests as they are, over one connection each."""

    def __init__(self, proa: Proa) -> None:
        config = yaml.safe_load(Path(proa.environment["KUBECONFIG"]).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._host = cluster["server"].removeprefix("https://")
        folder = proa.data_dir / "raw"
        folder.mkdir(exist_ok=True)

        def file(name: str, encoded: str) -> Path:
            path = folder / name
            path.write_bytes(base64.b64decode(encoded))
            return path

        authority = file("ca.crt", cluster["certificate-authority-data"])
        self._anonymous = ssl.create_default_context(cafile=str(authority))
        self._admin = ssl.create_default_context(cafile=str(authority))
        self._admin.load_cert_chain(
            file("admin.crt", user["client-certificate-data"]),
            file("admin.key", user["client-key-data"]),
        )

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str = JSON,
        *,
        admin: bool = True,
        **headers: str,
    ) -> tuple[int, Any]:
        """(status, decoded answer); ``body`` is sent as JSON unless it is bytes."""
        context = self._admin if admin else self._anonymous
        connection = http.client.HTTPSConnection(self._host, context=context, timeout=20)
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        try:
            connection.request(method, path, sent, {"content-type": content_type, **named})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text)


@pytest.fixture(scope="module")
def raw(proa: Proa) -> Iterator[Raw]:
    proa.kubectl("create namespace bad")
    asking = Raw(proa)
    for path, body in BEFORE:
        status, answer = asking.ask("POST", path, body)
        assert status == 201, answer
    yield asking
    proa.kubectl("delete namespace bad --wait=false")


def thing(kind: str, name: str, api: str = "v1", **more: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **more}


def config_map(name: str = "new", **more: Any) -> dict[str, Any]:
    return thing("ConfigMap", name, **more)


def pod(name: str = "new", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "busybox"}]
    return thing("Pod", name, spec={"containers": containers, "nodeName": "nowhere", **spec})


def container(**fields: Any) -> dict[str, Any]:
    return pod(containers=[{"name": "main", "image": "busybox", **fields}])


def workload(kind: str, name: str, selector: str = "a", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "main", "image": "busybox"}],
                         **({"restartPolicy": "Never"} if kind == "Job" else {})}}  # fmt: skip
    api = "batch/v1" if kind == "Job" else "apps/v1"
    chosen = {} if kind == "Job" else {"selector": {"matchLabels": {"app": selector}}}
    return thing(kind, name, api, spec={**chosen, "template": template, **spec})


def map_text(text: str) -> bytes:
    return f'{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"new"}},{text}}}'.encode()


BEFORE = [
    (MAPS, config_map("there", data={"a": "1"})),
    (MAPS, config_map("fixed", data={"a": "1"}, immutable=True)),
    (SECRETS, thing("Secret", "there", type="Opaque", data={})),
    (APPS, workload("Deployment", "there", replicas=0)),
    (JOBS, workload("Job", "there", suspend=True)),
]
THERE = f"{MAPS}/there"
REPLACED = config_map("there")
CASES: dict[str, tuple[Any, ...]] = {
    # Bodies that are none
    "malformed JSON": ("POST", MAPS, b"{", 400, "BadRequest", "unexpected end of JSON input ({)"),
    "malformed YAML": ("POST", MAPS, b"a: [", 400, "BadRequest", "must be of type ConfigMap", YAML),
    "malformed protobuf": ("POST", MAPS, b"k8s\0\xff\xff", 400, "BadRequest", "unrecognized",
                           "application/vnd.kubernetes.protobuf"),
    "an array": ("POST", MAPS, [], 400, "BadRequest", "cannot unmarshal array into Go value"),
    "nothing": ("POST", MAPS, b"", 400, "BadRequest", "(<empty>)"),
    "an unknown content type": ("POST", MAPS, b"x", 415, "UnsupportedMediaType",
                                "accepted media types include: application/json", TEXT),
    "deep nesting": ("POST", MAPS, map_text('"x":' + "[" * 400 + "]" * 400), 400, "BadRequest",
                     "exceeded max depth"),
    "too many bytes": ("POST", MAPS, map_text('"data":{"a":"%s"}' % ("x" * 3_200_000)), 413,
                       "RequestEntityTooLarge", "limit is 3145728"),
    "too much data": ("POST", MAPS, config_map(data={"a": "x" * 1_048_577}), 422, "Invalid",
                      "[]: Too long: may not be more than 1048576 bytes"),
    # Bodies of another form
    "a wrong type": ("POST", MAPS, config_map(data={"a": 1}), 400, "BadRequest",
                     "json: cannot unmarshal number into Go struct field ConfigMap.data of type"),
    "an unknown field": ("POST", MAPS + STRICT, config_map(spec={}), 400, "BadRequest",
                         'strict decoding error: unknown field "spec"'),
    "a field twice": ("POST", MAPS + STRICT, map_text('"data":{"a":"1","a":"2"}'), 400,
                      "BadRequest", 'strict decoding error: duplicate field "data.a"'),
    "a key twice in YAML": ("POST", MAPS + STRICT,
                            b"kind: ConfigMap\napiVersion: v1\nmetadata: {name: new}\n"
                            b"data: {a: x, a: z}\n", 400, "BadRequest",
                            'line 4: key "a" already set in map', YAML),
    "another kind": ("POST", MAPS, thing("Secret", "new"), 400, "BadRequest",
                     'Secret in version "v1" cannot be handled as a ConfigMap'),
    "an unknown version": ("POST", MAPS, thing("ConfigMap", "new", "v7"), 400, "BadRequest",
                           'no kind "ConfigMap" is registered for version "v7"'),
    "another namespace": ("POST", MAPS,
                          {**config_map(), "metadata": {"name": "new", "namespace": "other"}},
                          400, "BadRequest", "does not match the namespace sent on the request"),
    # Places that are none
    "an unknown resource": ("POST", f"{SPACE}/things", config_map(), 404, "NotFound",
                            "the server could not find the requested resource"),
    "an unknown group": ("GET", "/apis/none.example/v1/things", None, 404, "NotFound", "find"),
    "a missing namespace": ("POST", "/api/v1/namespaces/gone/configmaps", config_map(), 404,
                            "NotFound", 'namespaces "gone" not found'),
    "a method that is not served": ("PUT", MAPS, config_map(), 405, "MethodNotAllowed", "method"),
    "an answer nobody makes": ("POST", MAPS, config_map(), 406, "NotAcceptable",
                               "only the following media types are accepted", JSON, "text/html"),
    # Names and versions
    "no name": ("POST", MAPS, {**config_map(), "metadata": {}}, 422, "Invalid",
                "metadata.name: Required value: name or generateName is required"),
    "a name that is none": ("POST", MAPS, config_map("New_Name"), 422, "Invalid",
                            "a lowercase RFC 1123 subdomain must consist of"),
    "a label that is none": ("POST", MAPS, {**config_map(), "metadata": {
        "name": "new", "labels": {"a b": "c"}}}, 422, "Invalid", "metadata.labels: Invalid value"),
    "a name twice": ("POST", MAPS, REPLACED, 409, "AlreadyExists",
                     'configmaps "there" already exists'),
    "a name of another": ("PUT", THERE, config_map("other"), 400, "BadRequest",
                          "does not match the name on the URL (there)"),
    "an update of nothing": ("PUT", f"{MAPS}/new", config_map(), 404, "NotFound",
                             'configmaps "new" not found'),
    "a version on creation": ("POST", MAPS, {**config_map(), "metadata": {
        "name": "new", "resourceVersion": "5"}}, 400, "BadRequest",
        "resourceVersion should not be set on objects to be created"),
    "a stale version": ("PUT", THERE, {**REPLACED, "metadata": {
        "name": "there", "resourceVersion": "5"}}, 409, "Conflict",
        "the object has been modified; please apply your changes to the latest version"),
    "a version that is none": ("PUT", THERE, {**REPLACED, "metadata": {
        "name": "there", "resourceVersion": "abc"}}, 400, "BadRequest", "strconv.ParseUint"),
    "another uid": ("DELETE", THERE, {"preconditions": {"uid": "other"}}, 409, "Conflict",
                    "Precondition failed: UID in precondition: other"),
    # What may not change
    "immutable data": ("PATCH", f"{MAPS}/fixed", {"data": {"a": "2"}}, 422, "Invalid",
                       "data: Forbidden: field is immutable when `immutable` is set", MERGE),
    "a secret's type": ("PATCH", f"{SECRETS}/there", {"type": "Other"}, 422, "Invalid",
                        "type: Invalid value", MERGE),
    "a selector": ("PATCH", f"{APPS}/there", {"spec": {
        "selector": {"matchLabels": {"app": "b"}},
        "template": {"metadata": {"labels": {"app": "b"}}}}}, 422, "Invalid",
        "spec.selector: Invalid value", MERGE),
    "a job's template": ("PATCH", f"{JOBS}/there", [
        {"op": "replace", "path": "/spec/completions", "value": 5}], 422, "Invalid",
        "spec.completions: Invalid value: 5: field is immutable", JSON_PATCH),
    # Patches
    "a malformed patch": ("PATCH", THERE, b"{", 400, "BadRequest", "error decoding patch", MERGE),
    "a patch of no type": ("PATCH", THERE, {"data": {}}, 415, "UnsupportedMediaType",
                           "application/merge-patch+json", JSON),
    "a patch whose test fails": ("PATCH", THERE, [
        {"op": "test", "path": "/data/a", "value": "2"}], 422, "Invalid", "test failed",
        JSON_PATCH),
    "an unknown field in a patch": ("PATCH", THERE + STRICT, {"odd": 1}, 422, "Invalid",
                                    'strict decoding error: unknown field "odd"', MERGE),
    "an apply by nobody": ("PATCH", f"{MAPS}/new", config_map(), 422, "Invalid",
                           "fieldManager: Required value: is required for apply patch", APPLY),
    # Options
    "an unknown dry run": ("POST", f"{MAPS}?dryRun=Some", config_map(), 422, "Invalid",
                           'dryRun: Unsupported value: ["Some"]: supported values: "All"'),
    "an unknown validation": ("POST", f"{MAPS}?fieldValidation=Odd", config_map(), 422, "Invalid",
                              'fieldValidation: Unsupported value: "Odd"'),
    "an unknown propagation": ("DELETE", f"{THERE}?propagationPolicy=Odd", None, 422, "Invalid",
                               "propagationPolicy: Unsupported value"),
    "a label selector that is none": ("GET", f"{MAPS}?labelSelector=a%20b", None, 400,
                                      "BadRequest", "unable to parse requirement"),
    "a field nobody selects by": ("GET", f"{MAPS}?fieldSelector=data.a%3D1", None, 400,
                                  "BadRequest", "is not a known field selector"),
    "a page of nowhere": ("GET", f"{MAPS}?continue=abc", None, 400, "BadRequest",
                          "continue key is not valid"),
    # Pods that cannot be
    "impossible resources": ("POST", PODS, container(resources={"requests": {"cpu": "2"},
                                                                "limits": {"cpu": "1"}}),
                             422, "Invalid", "must be less than or equal to cpu limit of 1"),
    "a quantity that is none": ("POST", PODS, container(resources={"limits": {"cpu": "lots"}}),
                                400, "BadRequest", "quantities must match the regular expression"),
    "a volume that is not there": ("POST", PODS, container(volumeMounts=[
        {"name": "v", "mountPath": "/v"}]), 422, "Invalid", 'volumeMounts[0].name: Not found: "v"'),
    "an account that is not there": ("POST", PODS, pod(serviceAccountName="none"), 403,
                                     "Forbidden", 'serviceaccount "none" not found'),
    "a port of the node twice": ("POST", PODS, container(ports=[
        {"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]), 422,
        "Invalid", 'ports[1].hostPort: Duplicate value: "TCP//9"'),
    "a schedule that is none": ("POST", "/apis/batch/v1/namespaces/bad/cronjobs", thing(
        "CronJob", "new", "batch/v1", spec={"schedule": "61 * * * *", "jobTemplate": {"spec": {
            "template": {"spec": {"restartPolicy": "Never", "containers": [
                {"name": "main", "image": "busybox"}]}}}}}), 422, "Invalid",
        "end of range (61) above maximum (59): 61"),
    "an exec without an upgrade": ("POST", f"{PODS}/none/exec?command=ls&stdout=1", None, 404,
                                   "NotFound", 'pods "none" not found'),
}  # fmt: skip


def everything(raw: Raw) -> list[Any]:
    """What is stored where the cases would write."""
    found = []
    for path in (MAPS, SECRETS, PODS, APPS, JOBS, "/apis/batch/v1/namespaces/bad/cronjobs"):
        for item in raw.ask("GET", path)[1]["items"]:
            item["metadata"].pop("managedFields", None)
            found.append({**item, "status": None,
                          "metadata": {**item["metadata"], "resourceVersion": "",
                                       "annotations": None}})  # fmt: skip
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_is_told_and_nothing_is_written(raw: Raw, case: tuple[Any, ...]) -> None:
    method, path, body, code, reason, text, *more = case
    before = everything(raw)
    content_type = more[0] if more else JSON
    headers = {"accept": more[1]} if len(more) > 1 else {}
    status, answer = raw.ask(method, path, body, content_type, **headers)
    assert status == code, answer
    assert answer["kind"] == "Status"
    assert (answer["code"], answer["reason"]) == (code, reason)
    assert text in answer["message"]
    assert everything(raw) == before


@pytest.mark.parametrize(
    ("headers", "code", "text"),
    [
        ({"authorization": "Bearer nonsense"}, 401, "Unauthorized"),
        ({"authorization": "Bearer k8s-aws-v1.bm9uc2Vuc2U"}, 401, "Unauthorized"),
        ({}, 403, 'User "system:anonymous" cannot create resource "configmaps"'),
    ],
    ids=["a token that is none", "a foreign token that is none", "nobody"],
)
def test_who_is_not_known_writes_nothing(
    raw: Raw, headers: dict[str, str], code: int, text: str
) -> None:
    status, answer = raw.ask("POST", MAPS, config_map(), admin=False, **headers)
    assert (status, answer["code"]) == (code, code)
    assert text in answer["message"]
    assert raw.ask("GET", f"{MAPS}/new")[0] == 404


def test_a_token_falls_with_its_audience(raw: Raw) -> None:
    path = f"{SPACE}/serviceaccounts/default/token"
    for audiences, wanted in ((["elsewhere"], 401), ([], 201)):
        spec = {"audiences": audiences} if audiences else {}
        status, made = raw.ask("POST", path, {"spec": {**spec, "expirationSeconds": 600}})
        assert status == 201, made
        bearer = {"authorization": f"Bearer {made['status']['token']}"}
        review = thing("SelfSubjectReview", "", "authentication.k8s.io/v1")
        where = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        assert raw.ask("POST", where, review, admin=False, **bearer)[0] == wanted
    status, answer = raw.ask("POST", path, {"spec": {"expirationSeconds": 5}})
    assert (status, answer["reason"]) == (422, "Invalid")
