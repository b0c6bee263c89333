"""The API reference for people, at /docs: one page, made from the OpenAPI description, with nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

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

METHODS = ("get", "post", "put", "patch", "delete", "head")


def reference_page(openapi: dict[str, Any]) -> str:
    """The whole page as HTML."""
    info = openapi["info"]
    sections = "".join(_section(tag, operations) for tag, operations in _by_tag(openapi).items())
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


def _by_tag(openapi: dict[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    found: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, methods in openapi["paths"].items():
        for method in METHODS:
            if operation := methods.get(method):
                found.setdefault((operation.get("tags") or ["other"])[0], []).append((method, path, operation))
    return found


def _section(tag: str, operations: list[tuple[str, str, dict[str, Any]]]) -> str:
    return f"<h2>{escape(tag)}</h2>" + "".join(_operation(*operation) for operation in operations)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(where)}<td>{escape(text)}"
        for name, where, text in _inputs(operation)
    )
    table = f"<table>{rows}</table>" if rows else ""
    description = f"<p>{_prose(operation['description'])}" if operation.get("description") else ""
    return (
        f"<details><summary><b>{method.upper()}</b><code>{escape(path)}</code>"
        f"<span>{escape(operation.get('summary', ''))}</span></summary>{description}{table}</details>"
    )


def _inputs(operation: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(name, where it goes, what it is) of parameters and body fields."""
    for parameter in operation.get("parameters", []):
        text = parameter.get("description") or parameter.get("schema", {}).get("description", "")
        yield parameter["name"], parameter["in"], text
    content = operation.get("requestBody", {}).get("content", {})
    for name, field in content.get("application/json", {}).get("schema", {}).get("properties", {}).items():
        yield name, "body", field.get("description", "")
