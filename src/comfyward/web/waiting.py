"""The reason why a queued run waits, as a sentence."""

from __future__ import annotations

from comfyward.dispatch.forecast import QueueForecast
from comfyward.runs.waiting_run import COUNTED_PLACES
from comfyward.web import formatting


def waiting_text(pool: str, forecast: QueueForecast | None) -> str | None:
    """None without a forecast: the run is not queued."""
    if forecast is None:
        return None
    found = forecast.explanation
    if found.waits_for == "worker":
        return f"Starting {formatting.with_article(pool)}…"
    soon = f" Expected to start in {formatting.span(found.expected_in_ms)}." if found.expected_in_ms else ""
    is_far = forecast.place > COUNTED_PLACES
    position = f"Behind position {COUNTED_PLACES}" if is_far else f"Position {forecast.place}"
    return f"{position} in the queue of {pool}. {found.reason}{soon}"
