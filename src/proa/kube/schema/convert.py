"""From the published definitions to what ``kube.schema.cache`` keeps.

The published form says ``["string", "null"]`` where Kubernetes means an optional string, writes
Quantity and IntOrString as unions, and pins apiVersion and kind by enumerations. Codes of the
structure: a scalar's letter (``cache.SCALARS``), ``@<definition>``, or an object with ``l`` (list
of), ``v`` (map of) or ``@`` (reference with rules), with ``m`` merge key, ``p`` patch strategies,
``t`` list type, ``k`` list keys, ``a`` atomic. Pure functions; called when a cache is made.
"""

from __future__ import annotations

from typing import Any

JSON = dict[str, Any]
COMPONENTS = "#/components/schemas/"
META = "io.k8s.apimachinery.pkg"
EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
SPECIAL = {
    f"{META}.api.resource.Quantity": "q",
    f"{META}.util.intstr.IntOrString": "x",
    f"{META}.apis.meta.v1.Time": "t",
    f"{META}.apis.meta.v1.MicroTime": "u",
    f"{META}.apis.meta.v1.FieldsV1": "o",
    f"{META}.apis.meta.v1.Patch": "o",
    f"{META}.runtime.RawExtension": "*",
    f"{EXTENSIONS}.JSON": "*",
    f"{EXTENSIONS}.JSONSchemaPropsOrArray": "*",
    f"{EXTENSIONS}.JSONSchemaPropsOrBool": "*",
    f"{EXTENSIONS}.JSONSchemaPropsOrStringArray": "*",
}
_DOCUMENTS: dict[str, JSON] = {
    "q": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "x": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
}
_MARKS = {
    "x-kubernetes-patch-merge-key": "m",
    "x-kubernetes-list-type": "t",
    "x-kubernetes-list-map-keys": "k",
}


def structure_of(definitions: JSON) -> JSON:
    """Definitions without prose; the special ones disappear into scalar codes."""
    structure: JSON = {}
    for name, schema in definitions.items():
        if name in SPECIAL:
            continue
        entry: JSON = {}
        if fields := schema.get("properties"):
            entry["f"] = {key: _code(value) for key, value in fields.items()}
        if required := schema.get("required"):
            entry["r"] = required
        if schema.get("x-kubernetes-map-type") == "atomic":
            entry["a"] = 1
        kinds = schema.get("x-kubernetes-group-version-kind", ())
        if len(kinds) == 1:
            entry["g"] = [kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"]]
        structure[name] = entry
    return structure


def _code(schema: JSON) -> str | JSON:
    marks: JSON = {code: schema[key] for key, code in _MARKS.items() if key in schema}
    if strategies := schema.get("x-kubernetes-patch-strategy"):
        marks["p"] = strategies.split(",")
    if map_type := schema.get("x-kubernetes-map-type"):
        marks["a"] = int(map_type == "atomic")
    if "$ref" in schema:
        code = _reference(schema["$ref"])
        return {"@": code, **marks} if marks else code
    if "items" in schema:
        return {"l": _code(schema["items"]), **marks}
    if isinstance(schema.get("additionalProperties"), dict):
        return {"v": _code(schema["additionalProperties"]), **marks}
    return _scalar(_type(schema), schema.get("format"))


def _reference(ref: str) -> str:
    name = ref.removeprefix("#/$defs/")
    return SPECIAL.get(name, f"@{name}")


def _scalar(kind: str, format: str | None) -> str:
    if kind == "string":
        return "y" if format == "byte" else "s"
    if kind == "integer":
        return {"int32": "i32", "int64": "i64"}.get(format or "", "i")
    return {"boolean": "b", "number": "n", "object": "o"}.get(kind, "*")


def _type(schema: JSON) -> str:
    """The type without its nullability; "" for any."""
    kind = schema.get("type") or ""
    if isinstance(kind, list):
        kind = next((item for item in kind if item != "null"), "")
    return str(kind)


def documents_of(definitions: JSON) -> JSON:
    """Definitions with prose, as the schemas of an OpenAPI v3 document."""
    return {name: _document(name, schema) for name, schema in definitions.items()}


def _document(name: str, schema: JSON) -> JSON:
    document = _plain(schema)
    special = _DOCUMENTS.get(SPECIAL.get(name, ""))
    if special:
        document = {**{k: v for k, v in document.items() if k == "description"}, **special}
    for key in ("apiVersion", "kind"):
        document.get("properties", {}).get(key, {}).pop("enum", None)
    return document


def _plain(schema: JSON) -> JSON:
    """Without nullability. A reference with a description of its own becomes an ``allOf``."""
    document: JSON = {}
    for key, value in schema.items():
        if key == "type":
            document["type"] = _type(schema)
        elif key == "$ref":
            reference = {"$ref": f"{COMPONENTS}{value.removeprefix('#/$defs/')}"}
            document |= reference if len(schema) == 1 else {"allOf": [reference]}
        elif key == "properties":
            document[key] = {name: _plain(item) for name, item in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            document[key] = _plain(value)
        else:
            document[key] = value
    if not document.get("type", "-"):
        del document["type"]
    return document
