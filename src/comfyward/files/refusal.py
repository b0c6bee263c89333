"""The message of a host that refuses to send a file: the one sentence of its answer that a person should see."""

from __future__ import annotations

import datetime
import email.utils
import html
import json
import re
from collections.abc import Iterable
from typing import Any

from comfyward.errors import FetchFailed

LOGIN_HINT = "The link may need a login or a token: pass it as headers, or use a direct download link."
READ_BYTES = 16 << 10
MAX_LENGTH = 300
_IN_XML = re.compile(r"<(?:\w+:)?(?:Message|Detail|Details|Title)>(.*?)</", re.DOTALL | re.IGNORECASE)
_PAGE = re.compile(r"<!doctype html|<html|<head|<body", re.IGNORECASE)
_NOT_SHOWN = re.compile(r"<(style|script)\b.*?(</\1\s*>|$)", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_KEYS = ("message", "error_description", "detail", "error", "errors", "title", "reason", "msg")


def sentence_of(body: bytes, secrets: Iterable[str] = ()) -> str:
    """The message in the body of a refusal (JSON, XML, HTML or plain text), cleaned and shortened; "" if none.

    `secrets` are replaced by ***.
    """
    text = body.decode("utf-8", "replace").strip()
    if not _is_text(text):
        return ""
    found = _in_json(text)
    if found is None:
        found = _in_markup(text) if text.startswith("<") else text
    for secret in secrets:
        found = found.replace(secret, "***")
    return _clean(found)


def web_page_instead(host: str, wanted: str = "the file") -> FetchFailed:
    """The error for a web page in place of a file: mostly one that asks to log in."""
    return FetchFailed(f"'{host}' answered with a web page instead of {wanted}.", hint=LOGIN_HINT, web_page=True)


def wants_more(problem: FetchFailed) -> bool:
    """True if a host refused a file to this caller, and not to everybody."""
    return problem.details.get("http_status") in (401, 403) or problem.details.get("web_page") is True


def wait_of(header: str | None, now: datetime.datetime) -> float | None:
    """The seconds that a Retry-After header asks to wait, given as a number or a date; None without one."""
    text = (header or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d*)?", text, re.ASCII):
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (moment - now).total_seconds())


def _is_text(text: str) -> bool:
    """True if most of it is printable: not an image or a compressed page."""
    odd = sum(each == "\ufffd" or not (each.isprintable() or each.isspace()) for each in text)
    return odd <= len(text) / 3


def _in_json(text: str) -> str | None:
    if not text.startswith(("{", "[", '"')):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _first_text(value, depth=4) or ""


def _first_text(value: Any, depth: int) -> str | None:
    """The text under the likeliest key, also in nested objects and first items of lists."""
    match value:
        case str():
            return value
        case list() if value and depth:
            return _first_text(value[0], depth - 1)
        case dict() if depth:
            known = {str(key).lower(): inner for key, inner in value.items()}
            found = (_first_text(known.get(key), depth - 1) for key in _KEYS)
            return next((text for text in found if text), None)
        case _:
            return None


def _in_markup(text: str) -> str:
    text = _NOT_SHOWN.sub(" ", text)
    if found := _IN_XML.search(text):
        return html.unescape(_TAG.sub(" ", found[1]))
    return "" if not _PAGE.search(text[:1000]) and text.startswith("<?xml") else html.unescape(_TAG.sub(" ", text))


def _clean(text: str) -> str:
    text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"
