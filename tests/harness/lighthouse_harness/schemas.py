"""Schemas of Kubernetes 1.34 to 1.37 and of pinned CRDs, made strict: a field they do not know is an error.

They come from pinned Go modules (`pins.json`), are converted once and kept in the cache folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from .documents import thaw
from .findings import Finding, Verdict, verdict
from .go_modules import module_folder
from .manifests import ManifestError, read_objects
from .render import ToolError, cache_folder, write_whole
from .schema_validation import Problem, Schema, Validator

if TYPE_CHECKING:
    from pathlib import Path

    from .model import Object, Render

_FORMAT: Final = "4"
"""Part of each cached file's name; raise it when the conversion changes."""

_PREFIX: Final = "#/components/schemas/"
_FREE_FORM: Final = frozenset(
    {
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
    }
)
_OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_KEPT: Final = (
    "additionalProperties", "default", "enum", "exclusiveMaximum", "exclusiveMinimum", "format", "items",
    "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum",
    "pattern", "properties", "required", "type", "x-kubernetes-int-or-string", "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type", "x-kubernetes-preserve-unknown-fields",
)  # fmt: skip


def pins() -> dict[str, Any]:
    """The pinned sources: Kubernetes by minor version, CRDs by Go module."""
    pinned: dict[str, Any] = json.loads(files(__package__).joinpath("pins.json").read_text(encoding="utf-8"))
    return pinned


def kubernetes_versions() -> tuple[str, ...]:
    """The minor versions whose schemas are pinned, oldest first."""
    return tuple(pins()["kubernetes"])


def strict(schema: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """A schema that refuses unknown fields: of Kubernetes' OpenAPI or of a CRD."""
    if "$ref" in schema:
        return {"$ref": schema["$ref"].removeprefix(_PREFIX)}
    references = [part for part in schema.get("allOf") or () if "$ref" in part]
    if references:
        return strict(references[0])
    result = {key: schema[key] for key in _KEPT if key in schema}
    result |= {key: schema[key] for key in ("allOf", "anyOf", "oneOf", "not") if key in schema}
    if name.endswith(".resource.Quantity"):
        return {"format": "quantity"}
    if "properties" in result:
        result["properties"] = {key: strict(value) for key, value in result["properties"].items()}
    if "items" in result:
        result["items"] = strict(result["items"])
    if isinstance(result.get("additionalProperties"), Mapping):
        result["additionalProperties"] = strict(result["additionalProperties"])
    elif result.get("type") == "object" and "additionalProperties" not in result and name not in _FREE_FORM:
        result["additionalProperties"] = bool(result.get("x-kubernetes-preserve-unknown-fields", False))
    if schema.get("x-kubernetes-embedded-resource"):
        result["properties"] = result.get("properties", {}) | _type_fields()
    return result


def _type_fields() -> dict[str, Any]:
    return {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"$ref": _OBJECT_META},
    }


def _convert_kubernetes(folder: Path) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for file in sorted(folder.glob("api*__*_openapi.json")):
        schemas = json.loads(file.read_bytes()).get("components", {}).get("schemas", {})
        for name, schema in schemas.items():
            definitions[name] = strict(schema, name)
            for known in schema.get("x-kubernetes-group-version-kind") or ():
                if name.startswith("io.k8s.") and not known["kind"].endswith("Options"):
                    version = "/".join(part for part in (known["group"], known["version"]) if part)
                    kinds[f"{version} {known['kind']}"] = name
    if not kinds:
        raise ToolError(f"{folder} holds no OpenAPI files of Kubernetes.")
    return {"definitions": definitions, "kinds": kinds}


def _crd_kinds(crds: Iterable[Object]) -> dict[str, Any]:
    kinds = {}
    for crd in crds:
        for version in crd.at("spec.versions") or ():
            schema = (version.get("schema") or {}).get("openAPIV3Schema")
            if schema is not None and version.get("served", True):
                converted = strict(thaw(schema))
                converted["properties"] = converted.get("properties", {}) | _type_fields()
                kinds[f"{crd.at('spec.group')}/{version['name']} {crd.at('spec.names.kind')}"] = converted
    return kinds


def _read_crds(folder: Path) -> tuple[Object, ...]:
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.yaml"))]
    found: list[Object] = []
    for text in texts:
        try:
            found += [item for item in read_objects(text, "") if item.kind == "CustomResourceDefinition"]
        except ManifestError:
            continue  # a kustomization or another file that is no manifest
    return tuple(found)


def _cached(name: str, make: Any) -> dict[str, Any]:
    path = cache_folder() / "schemas" / f"{name}-{_FORMAT}.json"
    if not path.is_file():
        write_whole(path, json.dumps(make(), separators=(",", ":")))
    loaded: dict[str, Any] = json.loads(path.read_bytes())
    return loaded


def _pinned_crds(pin: Mapping[str, str]) -> dict[str, Any]:
    name = f"{pin['module'].replace('/', '_')}-{pin['version']}"
    return _cached(
        name, lambda: _crd_kinds(_read_crds(module_folder(pin["module"], pin["version"]) / pin["folder"]))
    )


def pinned_crds(kinds: Iterable[str]) -> tuple[Object, ...]:
    """The pinned CustomResourceDefinitions of these kinds, to be installed in a server."""
    wanted = set(kinds)
    folders = (module_folder(pin["module"], pin["version"]) / pin["folder"] for pin in pins()["crds"])
    found = (crd for folder in folders for crd in _read_crds(folder) if crd.at("spec.names.kind") in wanted)
    return tuple({crd.name: crd for crd in found}.values())


class Catalog:
    """The schemas of one Kubernetes version and of the CRDs beside it."""

    def __init__(self, version: str, definitions: Mapping[str, Schema], kinds: Mapping[str, Schema]) -> None:
        self.version = version
        self.validator = Validator(definitions)
        self._kinds = dict(kinds)
        self._judged: dict[Object, tuple[Problem, ...]] = {}

    def schema(self, item: Object) -> Schema | None:
        """The schema of the object's kind at its API version, if that version serves it."""
        return self._kinds.get(f"{item.api_version} {item.kind}")

    def with_crds(self, crds: Iterable[Object]) -> Catalog:
        """The same catalog with the kinds of these CustomResourceDefinitions."""
        added = _crd_kinds(crds)
        if not added:
            return self
        catalog = Catalog(self.version, {}, self._kinds | added)
        catalog.validator = self.validator
        return catalog

    def problems(self, item: Object) -> tuple[Problem, ...] | None:
        """Every problem of an object; `None` when its kind is unknown. Each object is judged once."""
        schema = self.schema(item)
        if schema is None:
            return None
        if item not in self._judged:
            self._judged[item] = tuple(self.validator.problems(schema, item.document))
        return self._judged[item]


@lru_cache(maxsize=16)
def catalog(version: str) -> Catalog:
    """The catalog of a Kubernetes version such as `1.36` or `1.36.0`, with all pinned CRDs.

    Raises `ToolError` for a version that is not pinned, or when Go cannot download a pin.
    """
    minor = ".".join(version.removeprefix("v").split(".")[:2])
    pinned = pins()
    if minor not in pinned["kubernetes"]:
        raise ToolError(
            f"The schemas of Kubernetes {version} are not pinned; known: {', '.join(pinned['kubernetes'])}."
        )
    exact = pinned["kubernetes"][minor]
    source = _cached(
        f"kubernetes-{exact}",
        lambda: _convert_kubernetes(
            module_folder("k8s.io/kubernetes", exact) / "api" / "openapi-spec" / "v3"
        ),
    )
    kinds: dict[str, Schema] = {key: {"$ref": name} for key, name in source["kinds"].items()}
    for pin in pinned["crds"]:
        kinds |= _pinned_crds(pin)
    return Catalog(minor, source["definitions"], kinds)


def crds_in(folder: Path) -> tuple[Object, ...]:
    """The CustomResourceDefinitions in the YAML files under a folder, for `Catalog.with_crds`."""
    return _read_crds(folder)


def schemas(render: Render, known: Catalog | None = None) -> Verdict:
    """Whether every object fits the schema of its kind at the render's Kubernetes version.

    A kind without a schema is a finding: it is misspelt, no longer served, or its CRD must be given.
    """
    chosen = (known or catalog(render.request.kubernetes)).with_crds(
        render.select("CustomResourceDefinition", may_be_empty=True)
    )
    found = []
    for item in render.objects:
        problems = chosen.problems(item)
        if problems is None:
            fix = f"use an API that Kubernetes {chosen.version} serves, or name the folder of its CRD"
            found.append(
                Finding("schema/kind", item.ref, "apiVersion", f"{item.api_version} {item.kind}", fix)
            )
            continue
        found += [
            Finding(f"schema/{problem.keyword}", item.ref, problem.path, problem.observed, problem.fix)
            for problem in problems
        ]
    return verdict("schema", render.objects, found)
