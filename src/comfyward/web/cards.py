"""Cards of workflows: the search that selects them and the values of their template."""

from __future__ import annotations

from typing import Any

from comfyward.api.whole_numbers import whole_number
from comfyward.store.workflows import Card, Search
from comfyward.web.page_request import PageRequest

PAGE_SIZE = 24


def search_of(request: PageRequest) -> Search:
    """The search of the query string, for one card more than a page shows."""
    start = whole_number(request.query("offset")) or 0
    return Search(request.query("q")[:200], request.query("tag")[:100] or None, PAGE_SIZE + 1, start)


def card_values(found: list[Card], search: Search, base: str) -> dict[str, Any]:
    """The values of the cards' template. `base` is the path below which the workflows have their pages."""
    return {"cards": found[:PAGE_SIZE], "more": len(found) > PAGE_SIZE, "search": search, "base": base}
