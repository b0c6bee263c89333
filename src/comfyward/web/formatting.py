"""Display formats of sizes, times, durations and states; the filters of the templates."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from comfyward.api.public_url import API_PREFIX
from comfyward.api.times import iso
from comfyward.files.pictures import has_thumbnail
from comfyward.runs.address import without_login
from comfyward.runs.output import Output
from comfyward.runs.run import EndReason, Run, State
from comfyward.wording import plural, size

_WORDS = re.compile(r"[^/\\_]*[/\\_]|[^/\\_]+")  # of a path, each with what ends it


def span(milliseconds: float | None) -> str:
    """A duration: 830 ms, 4.2 s, 3 min 05 s, 2 h 10 min."""
    if milliseconds is None:
        return "-"
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{max(0, milliseconds):.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def time(time_ms: int | None) -> Markup:
    """A time in UTC; a script shows it in the browser's time zone."""
    if time_ms is None:
        return Markup("never")
    text = iso(time_ms) or ""
    return Markup('<time datetime="{}">{} UTC</time>').format(text, text[:16].replace("T", " "))


def breakable(path: str) -> Markup:
    """A file's name or path, whose lines may end after a slash or an underscore, too, rather than inside a word."""
    return Markup("<wbr>").join(_WORDS.findall(path))


def credits(amount: float | None) -> str:
    if amount == 1:
        return "1 credit"
    return "0 credits" if not amount else f"{amount:,.2f} credits" if amount < 100 else f"{amount:,.0f} credits"


def state(run: Run) -> str:
    """The display name of a run's state."""
    match run.state:
        case State.ASSIGNED:
            return "fetching files" if run.files and run.staged_at is None else "waiting for GPU"
        case State.SUCCEEDED:
            return "done"
        case State.FAILED:
            return _FAILED.get(run.end_reason, "failed") if run.end_reason else "failed"
        case other:
            return str(other)


_FAILED = {
    EndReason.TIMEOUT: "timed out",
    EndReason.INSUFFICIENT_CREDIT: "no credit",
    EndReason.OOM: "out of memory",
}


def output_url(run: Run, name: str) -> str:
    """The path of an output, for a browser that is logged in."""
    return quote(f"{API_PREFIX}/view/workflows/{run.workflow_id}/output/{run.id}/{name}")


def thumbnail_url(run: Run, name: str) -> str:
    return quote(f"{API_PREFIX}/view/workflows/{run.workflow_id}/thumbnail/{run.id}/{name}")


def cover(run: Run | None) -> Output | None:
    """The output shown for a run in lists: its first image, else its first video."""
    outputs = [output for output in (run.outputs if run else ()) if has_thumbnail(output.content_type)]
    return min(outputs, key=lambda output: medium(output.content_type) != "image", default=None)


def medium(content_type: str) -> str:
    """The way to show an output: image, video, audio, text, or file (a download)."""
    kind = content_type.partition("/")[0]
    if kind == "image" and "svg" not in content_type:
        return "image"
    if kind in ("video", "audio"):
        return kind
    return "text" if content_type in ("text/plain", "application/json") else "file"


def with_article(name: str) -> str:
    """an image, an L4, a T4: abbreviations as they are spoken."""
    return f"{'an' if name[:1] in 'aeioAEFHILMNORSX' else 'a'} {name}"


FILTERS: dict[str, Callable[..., Any]] = {
    "size": size,
    "span": span,
    "time": time,
    "breakable": breakable,
    "credits": credits,
    "state": state,
    "plural": plural,
    "medium": medium,
    "without_login": without_login,
}
