"""The API reference: the OpenAPI description for programs, and one page made from it for people, at /docs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models, Tables
from comfyward.api.errors import ErrorFormat
from comfyward.api.openapi import Schema, openapi

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; padding: .3rem .8rem; }
summary { cursor: pointer; }
summary span { opacity: .7; margin-left: .6rem; }
summary b { display: inline-block; width: 5rem; }
code { font-family: ui-monospace, monospace; font-size: .92em; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
td { border-top: 1px solid var(--soft); padding: .25rem .5rem; vertical-align: top; }
h2 { margin-top: 2rem; text-transform: capitalize; }
"""

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
POLICY = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


class Reference:
    """Serves the description of these APIs, and of its own routes."""

    def __init__(self, apis: Sequence[Tables], errors: ErrorFormat) -> None:
        itself = Tables("", errors, {"reference": self.endpoints()})
        self._apis = [*apis, itself]

    def endpoints(self) -> list[Endpoint]:
        description = Models(answer=dict[str, Any], needs_key=False)
        page = Models(answer="text/html", needs_key=False)
        return [
            Endpoint("GET", "/openapi.json", self.openapi, "This description", description),
            Endpoint("GET", "/docs", self.docs, "This description as a page", page),
        ]

    async def openapi(self, request: Request) -> Response:
        return answer(self.description)

    async def docs(self, request: Request) -> Response:
        return Response(reference_page(self.description), media_type="text/html", headers=POLICY)

    @cached_property
    def description(self) -> dict[str, Any]:
        return openapi(self._apis)


def reference_page(description: dict[str, Any]) -> str:
    """The whole page as HTML."""
    info = description["info"]
    schemas = description["components"]["schemas"]
    sections = "".join(_section(tag, operations, schemas) for tag, operations in _by_tag(description).items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])} API</title><style>{STYLE}</style>"
        f"<h1>{escape(info['title'])} API {escape(info['version'])}</h1>"
        f"<p>{_prose(info['description'])}"
        f'<p>For machines: <a href="openapi.json">openapi.json</a>.{sections}</html>'
    )


def _prose(text: str) -> str:
    """A description's paragraphs, with `code` as such."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)).replace("\n\n", "<p>")


def _by_tag(description: dict[str, Any]) -> dict[str, list[tuple[str, str, Schema]]]:
    found: dict[str, list[tuple[str, str, Schema]]] = {}
    for path, methods in description["paths"].items():
        for method in METHODS:
            if operation := methods.get(method):
                found.setdefault((operation.get("tags") or ["other"])[0], []).append((method, path, operation))
    return found


def _section(tag: str, operations: list[tuple[str, str, Schema]], schemas: Mapping[str, Schema]) -> str:
    return f"<h2>{escape(tag)}</h2>" + "".join(_operation(*operation, schemas) for operation in operations)


def _operation(method: str, path: str, operation: Schema, schemas: Mapping[str, Schema]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(where)}<td>{escape(text)}"
        for name, where, text in _inputs(operation, schemas)
    )
    table = f"<table>{rows}</table>" if rows else ""
    description = f"<p>{_prose(operation['description'])}" if operation.get("description") else ""
    return (
        f"<details><summary><b>{method.upper()}</b><code>{escape(path)}</code>"
        f"<span>{escape(operation.get('summary', ''))}</span></summary>{description}{table}</details>"
    )


def _inputs(operation: Schema, schemas: Mapping[str, Schema]) -> Iterator[tuple[str, str, str]]:
    """(name, place, description) of parameters and of the fields of bodies."""
    for parameter in operation.get("parameters", []):
        yield parameter["name"], parameter["in"], parameter.get("description", "")
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        for field, about in schemas.get(name, {}).get("properties", {}).items():
            yield field, "body", about.get("description", "")
