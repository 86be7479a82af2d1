"""The API's own description, made from the routes and types that serve it."""

from __future__ import annotations

import re
from types import UnionType
from typing import TYPE_CHECKING, Any

import msgspec

from . import signatures
from .exchange import BYTES, JSON
from .messages import ErrorAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .route import Route

_REF = "#/components/schemas/{name}"
_MEANINGS = {
    200: "Done",
    201: "Stored anew",
    304: "Unchanged since the ETag the client has",
    400: "Malformed or refused",
    401: "The token is missing or not valid",
    403: "The session may not do this",
    404: "Unknown",
    409: "In conflict with what is stored",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "A field is unknown or of the wrong type",
    429: "Too much at once; Retry-After says when to come again",
    503: "The bridge is not ready",
}

_SIGNATURE: dict[str, Any] = {
    "name": "X-Lighthouse-Signature",
    "in": "header",
    "required": True,
    "description": " ".join((signatures.__doc__ or "").split()),
    "schema": {"type": "string", "pattern": signatures.PATTERN},
}


def build_openapi(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the routes."""
    types = _types_of(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for route in routes:
        path = re.sub(r":path}", "}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schema_of, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lighthouse bridge", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types_of(routes: Sequence[Route]) -> list[Any]:
    found: list[Any] = [ErrorAnswer]
    for route in routes:
        for kind in (*route.body, *route.answers.values()):
            found += [part for part in _parts(kind) if part is not None]
        if route.query is not None:
            found.append(route.query)
    return list({id(kind): kind for kind in found}.values())


def _parts(kind: Any) -> tuple[Any, ...]:
    # msgspec has no schema for a union of untagged structs: each part gets its own.
    return kind.__args__ if isinstance(kind, UnionType) else (kind,)


def _schema(kind: Any, schema_of: dict[int, Any]) -> Any:
    parts = [schema_of[id(part)] for part in _parts(kind)]
    return parts[0] if len(parts) == 1 else {"oneOf": parts}


def _operation(route: Route, schema_of: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.handle.__module__.rsplit(".", 1)[-1] + "_" + route.handle.__name__,
        "security": [] if route.public and 401 not in route.statuses else [{"bearer": []}],
        "responses": {},
    }
    if route.role is not None:
        operation["description"] = f"Needs the role {route.role.label} or a higher one."
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)", route.path)
    ]
    if route.query is not None:
        properties = components[route.query.__name__]["properties"]
        required = components[route.query.__name__].get("required", [])
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": schema}
            for name, schema in properties.items()
        ]
    if route.signed:
        parameters.append(_SIGNATURE)
    if parameters:
        operation["parameters"] = parameters
    if route.has_body:
        parts = [schema_of[id(kind)] for kind in route.body]
        schema = parts[0] if len(parts) == 1 else {"oneOf": parts}
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": {JSON: {"schema": schema}},
        }
    elif route.raw_body:
        operation["requestBody"] = {"required": True, "content": {BYTES: {}}}
    for status in sorted(route.statuses):
        operation["responses"][str(status)] = _response(route, status, schema_of)
    return operation


def _response(route: Route, status: int, schema_of: dict[int, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _MEANINGS[status]}
    if status not in route.answers:
        response["content"] = {JSON: {"schema": schema_of[id(ErrorAnswer)]}}
    elif status != 304:
        kind = route.answers[status]
        content = {} if kind is None else {"schema": _schema(kind, schema_of)}
        response["content"] = dict.fromkeys(route.media_types, content)
    return response
