"""A node's help, which the editor shows beside it, made from the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAX_CHOICES = 8


def help_page(class_type: str, info: dict[str, Any]) -> str:
    """Markdown with a class's description, inputs and outputs."""
    parts = [f"# {info.get('display_name') or class_type}", str(info.get("description") or "")]
    parts.append(_table("Inputs", ("name", "type", ""), _inputs(info)))
    parts.append(_table("Outputs", ("name", "type", ""), _outputs(info)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _inputs(info: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    sections = info.get("input") or {}
    for section in ("required", "optional"):
        for name, spec in (sections.get(section) or {}).items():
            kind, *rest = spec if isinstance(spec, list) and spec else [spec]
            options = rest[0] if rest and isinstance(rest[0], dict) else {}
            choices = kind if isinstance(kind, list) else options.get("options")
            text = str(options.get("tooltip") or "")
            yield name if section == "required" else f"{name} (optional)", _kind(kind, choices), text


def _kind(kind: Any, choices: Any) -> str:
    if not isinstance(choices, list):
        return str(kind)
    shown = [str(choice) for choice in choices[:MAX_CHOICES]]
    return "one of " + ", ".join([*shown, "…"] if len(choices) > MAX_CHOICES else shown) if shown else "a choice"


def _outputs(info: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    declared = (info.get(key) for key in ("output", "output_name", "output_tooltips"))
    kinds, names, texts = (each if isinstance(each, list) else [] for each in declared)
    for index, kind in enumerate(kinds):
        name = names[index] if index < len(names) else kind
        yield str(name), str(kind), str(texts[index] or "") if index < len(texts) else ""


def _table(title: str, heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [_row(row) for row in rows]
    return "\n".join((f"## {title}", "", _row(heads), _row(("---",) * len(heads)), *lines)) if lines else ""


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
