"""The orders of a run's files to its worker: from the object store, from a mirror, or from their hosts.

Here alone a secret of the account becomes a header of a run's file: it is in the assignment, and nowhere else.
"""

from __future__ import annotations

from comfyward.dispatch.mirrors import Mirrors
from comfyward.dispatch.named_secrets import NamedSecrets
from comfyward.runs.files import Stored, Url, source_from_row
from comfyward.runs.run import Run
from comfyward.store.mirrors import Mirror
from comfyward.worker.protocol import FileOrder


class FileOrders:
    def __init__(self, secrets: NamedSecrets, mirrors: Mirrors) -> None:
        self._secrets, self._mirrors = secrets, mirrors

    async def of(self, run: Run) -> list[FileOrder]:
        sources = {path: source_from_row(row) for path, row in run.files.items()}
        fetched = {path: source for path, source in sources.items() if isinstance(source, Url)}
        sent, mirrors = await self._secrets.sent(run.account_id, fetched), await self._mirrors.of(run)
        return [
            FileOrder(path, blob=source.digest)
            if isinstance(source, Stored)
            else _fetched(path, sent[path], mirrors.get(path), is_kept=path in mirrors)
            for path, source in sources.items()
        ]


def _fetched(path: str, url: Url, mirror: Mirror | None, *, is_kept: bool) -> FileOrder:
    mirrored, keep = mirror.digest if mirror else None, is_kept and mirror is None
    return FileOrder(path, url.url, url.digest, dict(url.headers), mirror=mirrored, keep=keep)
