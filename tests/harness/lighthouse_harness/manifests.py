"""Rendered text to objects: a fast YAML loader that reads scalars as Kubernetes does.

Helm hands its output to sigs.k8s.io/yaml, whose rules differ from PyYAML's: `1e3` is a number, `1:30` and
`2026-01-01` are strings, `y` and `n` are booleans, and a key given twice is an error.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import yaml

from .model import Object, make_object

try:
    from yaml import CSafeLoader as _BaseLoader
except ImportError:  # pragma: no cover - PyYAML without libyaml
    from yaml import SafeLoader as _BaseLoader  # type: ignore[assignment]  # same interface, slower


class ManifestError(ValueError):
    """The rendered text is not YAML, or not a Kubernetes object."""


_BOOL: Final = re.compile(
    r"y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF"
)
_INT: Final = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)")
_FLOAT: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_TRUE: Final = frozenset({"y", "yes", "true", "on"})


class _Loader(_BaseLoader):
    """The C loader with Kubernetes' scalars, and an error for a key given twice."""


_Loader.yaml_implicit_resolvers = {}


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(rf"(?:{_BOOL.pattern})$"), list("yYnNtTfFoO")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(rf"(?:{_INT.pattern})$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(rf"(?:{_FLOAT.pattern})$"), list("-+0123456789.")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"(?:<<)$"), ["<"])


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
    if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
        loader.flatten_mapping(node)
        return {
            loader.construct_object(key, True): loader.construct_object(value, True)
            for key, value in node.value
        }
    result: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in result:
            line = key_node.start_mark.line + 1
            raise ManifestError(f"the key {key!r} is given twice, the second time on line {line}")
        result[key] = loader.construct_object(value_node, deep=True)
    return result


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value).replace("_", "")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if digits.startswith("0") and len(digits) > 1 and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(str(node.value).replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:bool", lambda _, node: str(node.value).lower() in _TRUE)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def load_yaml(text: str) -> Any:
    """Read one YAML document as Kubernetes would. Raises `ManifestError`, naming the line."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.YAMLError as error:
        raise ManifestError(" ".join(str(error).split())) from error


_SEPARATOR: Final = re.compile(r"^---[ \t]*(?:#.*)?$", re.MULTILINE)
_SOURCE: Final = re.compile(r"\A\s*# Source: (?P<source>\S.*)$", re.MULTILINE)


def read_objects(text: str, namespace: str) -> tuple[Object, ...]:
    """All objects of a multi-document text; `List` kinds are unfolded. `namespace` is the release's."""
    return tuple(item for chunk in _SEPARATOR.split(text) for item in _read_chunk(chunk, namespace))


@lru_cache(maxsize=50_000)
def _read_chunk(chunk: str, namespace: str) -> tuple[Object, ...]:
    """Equal text gives the same object, so renders that differ little are parsed and judged once."""
    if not chunk.strip():
        return ()
    found = _SOURCE.match(chunk)
    source = found["source"].strip() if found else ""
    try:
        document = load_yaml(chunk)
    except ManifestError as error:
        raise ManifestError(
            f"The manifest from {source or 'this text'} is not valid YAML: {error}."
        ) from error
    return tuple(make_object(item, namespace, source) for item in _unfold(document, source))


def _unfold(document: Any, source: str) -> Iterator[Mapping[str, Any]]:
    if document is None:
        return
    if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
        shown = (
            type(document).__name__ if not isinstance(document, dict) else f"a mapping of {sorted(document)}"
        )
        raise ManifestError(
            f"The manifest from {source or 'this text'} has no apiVersion and kind: it is {shown}."
        )
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _unfold(item, source)
        return
    yield document


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay values over values as Helm does: mappings merge, anything else replaces, null removes."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result
