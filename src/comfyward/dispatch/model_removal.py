"""The deletion of a model, and its undoing: transactions on the rows of files, links and shared files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from sqlalchemy import Connection

from comfyward.accounts.account import Account
from comfyward.errors import Conflict, NotFound
from comfyward.ids import new_id
from comfyward.store import deleted_models, files, shared_files
from comfyward.store.deleted_models import DeletedModel
from comfyward.store.models import Naming
from comfyward.store.shared_files import SharedFile


@dataclass(frozen=True)
class Broken:
    """The workflows that need a model: the account's, and the number of those of others."""

    workflows: tuple[Naming, ...]
    others: int

    def __bool__(self) -> bool:
        return bool(self.workflows or self.others)


def remove(conn: Connection, account: Account, path: str, most: int, now: int) -> DeletedModel:
    """Deletes what an account has at a path: its file and its link; of an admin, also the shared file of these bytes.

    Its deletions keep `most` bytes together (0: any number). Raises NotFound.
    """
    own = next(iter(files.at(conn, account.id, [path])), None)
    link = files.links(conn, account.id, [path]).get(path)
    shared = shared_files.at(conn, path) if account.is_admin else None
    if shared is not None and (link or (own and own.digest != shared.digest)):
        shared = None  # it is another model, which was hidden by this one
    file = own or shared
    if file is None and link is None:
        raise NotFound(f"There is no model '{path}'.")
    if own is not None:
        files.remove(conn, account.id, path)
    if shared is not None:
        shared_files.withdraw(conn, path)
    files.unlink(conn, account.id, path)
    digest, size, content_type = (file.digest, file.size, file.content_type) if file else ("", 0, "")
    deleted = DeletedModel(
        id=new_id(),
        account_id=account.id,
        path=path,
        digest=digest,
        size=size,
        content_type=content_type,
        is_own=own is not None,
        is_shared=shared is not None,
        deleted_at=now,
        about=file.about if file else {},
        link=link,
    )
    deleted_models.add(conn, deleted)
    deleted_models.give_up_beyond(conn, account.id, most)
    return deleted


def restore(conn: Connection, account: Account, deleted_id: str, most: int, now: int) -> str:
    """Undoes a deletion. Returns the path.

    Raises NotFound, OverQuota, or Conflict if there is another model by now, or if sharing is no longer the account's.
    """
    deleted = deleted_models.take(conn, account.id, deleted_id)
    path = deleted.path
    if files.at(conn, account.id, [path]) or (deleted.is_shared and shared_files.at(conn, path)):
        raise Conflict(f"There is another file at '{path}' by now.", hint="Delete or rename that one first.")
    if deleted.is_own:
        file = files.new_file(account.id, path, deleted.digest, deleted.size, deleted.content_type, now)
        files.put(conn, dataclasses.replace(file, about=deleted.about), most)
    if deleted.is_shared:
        if not account.is_admin:
            raise Conflict("The model was shared, and only admins share models.")
        shared = (path, deleted.digest, deleted.size, deleted.content_type, account.id, now, deleted.about)
        shared_files.share(conn, SharedFile(*shared))
    if deleted.link is not None:
        files.link(conn, account.id, {path: deleted.link}, now)
    return path
