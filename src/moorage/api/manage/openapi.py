"""The OpenAPI document, made from the table of operations.

Source: OpenAPI Specification 3.1.1; JSON Schema 2020-12, which its schemas are.
"""

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from moorage.api.gate import Needs
from moorage.api.manage.documents import Refusals
from moorage.api.manage.routes import BASE, Route

_JSON = "application/json"
_WORD = re.compile(r"\{(\w+)(?:\.\.\.)?\}", re.ASCII)
_REFUSED = {"$ref": "#/components/responses/Refused"}
_ABOUT = (
    "Sign in by Basic with a password or a token (`moor_...`) in its place, or by `Bearer` with a token."
    " What one may not see is answered as what is not there: 404. No reply may be cached."
)


def describe(table: Sequence[Route]) -> dict[str, Any]:
    """The document that describes these operations."""
    kinds: list[Any] = [Refusals]
    for route in table:
        kinds += [kind for kind in (route.reply, route.body, route.query) if kind is not None]
    shown, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(kinds, shown, strict=True))
    # what is asked in a query is listed field by field, and is no document
    queries = {name: schemas.pop(name) for name in {route.query.__name__ for route in table}}
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        operations = paths.setdefault(BASE + _WORD.sub(r"{\1}", route.path), {})
        operations[route.method.lower()] = _operation(route, schema_of, queries[route.query.__name__])
    return {
        "openapi": "3.1.1",
        "info": {"title": "Moorage", "version": version("moorage"), "description": _ABOUT},
        "paths": paths,
        "security": [{"basic": []}, {"token": []}],
        "components": {
            "schemas": schemas,
            "responses": {
                "Refused": {
                    "description": "What was refused, and why.",
                    "content": {_JSON: {"schema": schema_of[Refusals]}},
                }
            },
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(route: Route, schema_of: dict[Any, Any], query: dict[str, Any]) -> dict[str, Any]:
    noun = route.answer.__module__.rpartition(".")[2]
    done: dict[str, Any] = {"description": "Done."}
    if route.reply is not None:
        done["content"] = {_JSON: {"schema": schema_of[route.reply]}}
    operation = {
        "operationId": f"{noun}_{route.answer.__name__}",
        "tags": [noun],
        "summary": route.summary,
        "description": f"Needs: {route.needs.value}.",
        "parameters": [*_in_path(route), *_in_query(query)],
        "responses": {str(route.status): done, "4XX": _REFUSED, "5XX": _REFUSED},
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": schema_of[route.body]}},
        }
    if route.needs is Needs.NOTHING:
        operation["security"] = []
    return operation


def _in_path(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 0}
            if name == "id"
            else {"type": "string", "minLength": 1},
        }
        for name in _WORD.findall(route.path)
    ]


def _in_query(query: dict[str, Any]) -> list[dict[str, Any]]:
    required = query.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _said(schema)}
        for name, schema in query["properties"].items()
    ]


def _said(schema: dict[str, Any]) -> dict[str, Any]:
    """What a field may be when it is there: a query has no null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    return kinds[0] if len(kinds) == 1 else schema
