"""Limits of an account's storage, and what it stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from comfyward.errors import OverQuota
from comfyward.paths import MODELS_ROOT
from comfyward.wording import plural, size

_HOW_TO_FREE = {
    "inputs": "Delete some with DELETE /api/v1/files?path=PATH or on the page Files",
    "models": "Delete some with DELETE /api/v1/files?path=PATH or on the page Files",
    "outputs": "Delete runs with DELETE /api/v1/workflows/WORKFLOW/runs/RUN or on the page Runs",
    "unfinished": "Finish or give up some, or wait: they expire after a day",
    "uploads": "Finish or give up some, or wait: they expire after a day",
}


@dataclass(frozen=True)
class Quota:
    """Limits of an account; 0: none. `uploads` is a number of unfinished uploads, the others are in bytes.

    inputs       files that were uploaded or imported, other than models
    models       the same below /models/
    outputs      all that the account's runs keep: outputs, previews, inputs that are no files of the account, and
                 requests of COUNTED_BYTES or more
    unfinished   announced sizes of unfinished uploads
    """

    inputs: int = 0
    models: int = 0
    outputs: int = 0
    unfinished: int = 0
    uploads: int = 0

    def of(self, role: str, own: Mapping[str, int]) -> Quota:
        """These defaults for an account: with its own limits, and an admin's files are limited only by those."""
        free = {"inputs": 0, "models": 0, "outputs": 0} if role == "admin" else {}
        return replace(self, **{**free, **own})

    def check(self, used: Stored, name: str, more: int) -> None:
        """Raises OverQuota if an account that stores `used` may not store `more` under a limit."""
        most, now = getattr(self, name), getattr(used, name)
        if most and now + more > most:
            raise over(name, now, most, more)


@dataclass(frozen=True)
class Stored:
    """The use of an account's storage, in the same terms."""

    inputs: int = 0
    models: int = 0
    outputs: int = 0
    unfinished: int = 0
    uploads: int = 0


COUNTED_BYTES = 8 << 10


def counted(request_bytes: int) -> int:
    """The bytes that a run's request counts: nothing for a small one, of which an index would have an entry each."""
    return request_bytes if request_bytes >= COUNTED_BYTES else 0


LIMITS = tuple(each.name for each in fields(Quota))


def kind_of(path: str) -> str:
    """The limit that a file of an account counts toward."""
    return "models" if path.startswith(MODELS_ROOT) else "inputs"


def over(name: str, used: int, most: int, more: int) -> OverQuota:
    """The error for `more` bytes (or uploads) beside what is `used` of a limit."""
    if name == "uploads":
        message = f"You have {plural(used, 'unfinished upload')}, of {most:,} allowed."
    else:
        what = "unfinished uploads" if name == "unfinished" else name
        message = f"Your {what} use {size(used)} of {size(most)}"
        message += f"; this needs {size(more)} more." if more else "."
    hint = f"{_HOW_TO_FREE[name]}; or ask an admin for more."
    return OverQuota(message, hint=hint, limit=name, used=used, most=most)
