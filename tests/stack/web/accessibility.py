"""What axe-core, the width of the screen and both schemes of colours say of a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

SCREENS = {"phone": {"width": 360, "height": 780}, "desktop": {"width": 1400, "height": 900}}
LOOK = 'axe.run(document, { resultTypes: ["violations"] })'


def axe_in(node_clients: Path) -> str:
    return (node_clients / "node_modules" / "axe-core" / "axe.min.js").read_text()


def findings(page: Page, axe: str, path: str) -> Iterator[tuple[Any, ...]]:
    """Opens a page. Yields what is wrong with it, light and dark."""
    page.goto(path)
    page.evaluate(axe)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        yield from ((path, scheme, *each) for each in serious(page.evaluate(LOOK)))
    width = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    if width[0] > width[1]:
        yield (path, "wider than the screen", *width)


def serious(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (violation["id"], violation["nodes"][0]["html"], violation["nodes"][0]["any"][:1])
        for violation in result["violations"]
        if violation["impact"] in ("serious", "critical")
    ]
