"""The OpenAPI 3.1 description of tables of endpoints; the schemas are pydantic's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from comfyward import __version__
from comfyward.api.endpoint import Endpoint, Media, Models, Tables

JSON = "application/json"
MODE: Literal["validation"] = "validation"  # one schema for what is read and what is sent
REF_TEMPLATE = "#/components/schemas/{model}"
DESCRIPTION = """Run ComfyUI workflows on your own machines. Compatible with ComfyICU's API: change the host name.

ComfyICU's API is below `/api/v1`, Comfy API v2, for the official SDKs, below `/api/v2`, and ComfyUI's own API below
`/comfy`, and for one workflow below `/workflows/ID/comfy`.

Send your key as `Authorization: Bearer KEY`, or as the password of HTTP Basic. Each API has one form of errors, with a
`code` that is stable.
"""
SECURITY = {"key": {"type": "http", "scheme": "bearer"}, "password": {"type": "http", "scheme": "basic"}}
# Pydantic's name of a model that is not the only one of its name: its module and its own.
_IN_SEVERAL_APIS = re.compile(r"comfyward__api__([a-z0-9]+)__\w+?__([A-Z]\w*)")
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")

Schema = dict[str, Any]


def openapi(apis: Sequence[Tables]) -> dict[str, Any]:
    """The description of these APIs."""
    schemas = _Schemas(apis)
    paths: dict[str, dict[str, Any]] = {}
    for api in apis:
        for tag, table in api.subjects.items():
            for endpoint in table:
                path = api.prefix + _PARAMETER.sub(r"{\1}", endpoint.path)
                described = _Operation(path, endpoint, schemas).described(tag, api.errors.model)
                paths.setdefault(path, {})[endpoint.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "comfyward", "version": __version__, "description": DESCRIPTION},
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": SECURITY},
        "security": [{name: []} for name in SECURITY],
        "tags": [{"name": tag} for api in apis for tag in api.subjects],
    }


class _Schemas:
    """The schemas of all models. Models of the same name in two APIs are named after them: V1Error, V2Error."""

    def __init__(self, apis: Sequence[Tables]) -> None:
        endpoints = [endpoint for api in apis for endpoint in api.endpoints()]
        queries = [each.models.query for each in endpoints if each.models.query is not None]
        contents = [model for each in endpoints for model in _models_of(each.models)]
        errors = [api.errors.model for api in apis]
        kinds = {repr(kind): kind for kind in (*contents, *errors)} | {f"query {kind!r}": kind for kind in queries}
        inputs = [(key, MODE, TypeAdapter(kind)) for key, kind in kinds.items()]
        found, definitions = TypeAdapter.json_schemas(inputs, ref_template=REF_TEMPLATE)
        made = {"found": {key: schema for (key, _), schema in found.items()}, "all": definitions.get("$defs", {})}
        named = json.loads(_IN_SEVERAL_APIS.sub(lambda match: match[1].capitalize() + match[2], json.dumps(made)))
        self._found: dict[str, Schema] = named["found"]
        self.components: dict[str, Schema] = named["all"]
        assert len(self.components) == len(made["all"]), "two models of one API have the same name"
        self._queries = {kind: self._taken_out(self._found[f"query {kind!r}"]) for kind in dict.fromkeys(queries)}

    def of(self, kind: Any) -> Schema:
        """The schema of a model, or of a type built of models."""
        return self._found[repr(kind)]

    def parameters(self, query: type[BaseModel]) -> Iterator[Schema]:
        """The parameters of a query."""
        schema = self._queries[query]
        for name, field in schema["properties"].items():
            parameter = {"name": name, "in": "query", "required": name in schema.get("required", ())}
            field = _without_null(field)
            if description := field.pop("description", None):
                parameter["description"] = description
            yield {**parameter, "schema": field}

    def _taken_out(self, schema: Schema) -> Schema:
        """A query is described by its parameters, and its model is no component."""
        name = schema.get("$ref", "").rpartition("/")[2]
        return self.components.pop(name) if name else schema


@dataclass(frozen=True)
class _Operation:
    path: str
    endpoint: Endpoint
    schemas: _Schemas

    def described(self, tag: str, error: type[BaseModel]) -> dict[str, Any]:
        models = self.endpoint.models
        refused = {"description": "An error.", **_contents(self.schemas, error)}
        operation: dict[str, Any] = {
            "tags": [tag],
            "summary": self.endpoint.summary,
            "operationId": self._id(),
            "parameters": list(self._parameters()),
            "responses": {str(models.status): self._answer(), "default": refused},
        }
        if models.description:
            operation["description"] = models.description
        if models.body is not None:
            operation["requestBody"] = {"required": True, **_contents(self.schemas, models.body)}
        if not models.needs_key:
            operation["security"] = []
        return operation

    def _id(self) -> str:
        words = re.findall(r"\w+", self.path)
        return "_".join((self.endpoint.method.lower(), *words))

    def _parameters(self) -> Iterator[Schema]:
        for name in _PARAMETER.findall(self.endpoint.path):
            yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        if self.endpoint.models.query is not None:
            yield from self.schemas.parameters(self.endpoint.models.query)
        for name, text in self.endpoint.models.headers.items():
            yield {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}

    def _answer(self) -> dict[str, Any]:
        models = self.endpoint.models
        answer: dict[str, Any] = {"description": f"{HTTPStatus(models.status).phrase}."}
        if models.answer_headers:
            answer["headers"] = {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in models.answer_headers.items()
            }
        return answer if models.answer is None else answer | _contents(self.schemas, models.answer)


def _without_null(field: Schema) -> Schema:
    """The schema of a parameter: one that is not given is absent, and has no null."""
    field = {name: value for name, value in field.items() if name != "title" and (name, value) != ("default", None)}
    match field:
        case {"anyOf": [value, {"type": "null"}]}:
            del field["anyOf"]
            return {**value, **field}
        case _:
            return field


def _contents(schemas: _Schemas, forms: Any) -> dict[str, Any]:
    """The content of a body or an answer, which may have several forms."""
    content: dict[str, Any] = {}
    for form in forms if isinstance(forms, tuple) else (forms,):
        match form:
            case str():
                content[form] = {"schema": {"type": "string"}} if form.startswith("text/") else {}
            case Media(media_type, model):
                content[media_type] = {"schema": schemas.of(model)}
            case model:
                content[JSON] = {"schema": schemas.of(model)}
    return {"content": content}


def _models_of(models: Models) -> Iterator[Any]:
    for forms in (models.body, models.answer):
        for form in forms if isinstance(forms, tuple) else (forms,):
            match form:
                case None | str():
                    continue
                case Media(_, model):
                    yield model
                case model:
                    yield model
