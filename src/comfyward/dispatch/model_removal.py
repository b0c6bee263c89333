"""The deletion of a model with its pictures, and its undoing: transactions on files, links and shared files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from comfyward.accounts.account import Account
from comfyward.dispatch.model_list import is_model, pictures_beside, without_suffix
from comfyward.errors import Conflict, NotFound
from comfyward.ids import new_id
from comfyward.store import deleted_models, files, shared_files
from comfyward.store.deleted_models import DeletedModel
from comfyward.store.files import StoredFile
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
    """Deletes what an account has at a path, with the pictures beside it: its file and its link; of an admin, also the
    shared file of these bytes.

    Its deletions keep `most` bytes together (0: any number). Raises NotFound.
    """
    deleted = _taken(conn, account, path, now, may_withdraw=account.is_admin)
    if deleted is None:
        raise NotFound(f"There is no model '{path}'.")
    deleted_models.add(conn, deleted)
    for each in _pictures_of(conn, account, path):
        picture = _taken(conn, account, each, now, may_withdraw=deleted.is_shared)
        if picture is not None:
            deleted_models.add(conn, dataclasses.replace(picture, beside=deleted.id))
    deleted_models.give_up_beyond(conn, account.id, most)
    return deleted


def restore(conn: Connection, account: Account, deleted_id: str, most: int, now: int) -> str:
    """Undoes a deletion; a picture stays away where there is another by now. Returns the path.

    Raises NotFound, OverQuota, or Conflict if there is another model by now, or if sharing is no longer the account's.
    """
    deleted = deleted_models.take(conn, account.id, deleted_id)
    if _is_occupied(conn, account, deleted):
        path = deleted.path
        raise Conflict(f"There is another file at '{path}' by now.", hint="Delete or rename that one first.")
    if deleted.is_shared and not account.is_admin:
        raise Conflict("The model was shared, and only admins share models.")
    _put_back(conn, account, deleted, most, now)
    for picture in deleted_models.take_beside(conn, account.id, deleted.id):
        if not _is_occupied(conn, account, picture):
            _put_back(conn, account, picture, most, now)
    return deleted.path


def _taken(conn: Connection, account: Account, path: str, now: int, *, may_withdraw: bool) -> DeletedModel | None:
    """The model that was at a path until now; None if nothing was."""
    own = next(iter(files.at(conn, account.id, [path])), None)
    link = files.links(conn, account.id, [path]).get(path)
    shared = shared_files.at(conn, path) if may_withdraw else None
    if shared is not None and (link or (own and own.digest != shared.digest)):
        shared = None  # it is another model, which was hidden by this one
    if own is None and shared is None and link is None:
        return None
    _remove(conn, account, path, own, shared)
    return _deleted(account, path, own, shared, link, now)


def _remove(conn: Connection, account: Account, path: str, own: StoredFile | None, shared: SharedFile | None) -> None:
    if own is not None:
        files.remove(conn, account.id, path)
    if shared is not None:
        shared_files.withdraw(conn, path)
    files.unlink(conn, account.id, path)


def _deleted(
    account: Account,
    path: str,
    own: StoredFile | None,
    shared: SharedFile | None,
    link: Mapping[str, Any] | None,
    now: int,
) -> DeletedModel:
    file = own or shared
    digest, size, content_type = (file.digest, file.size, file.content_type) if file else ("", 0, "")
    return DeletedModel(
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


def _pictures_of(conn: Connection, account: Account, path: str) -> list[str]:
    """The paths of the pictures beside a model, unless another model of the account has them, too."""
    stem = without_suffix(path)
    beside = files.find(conn, account.id, f"{stem}.")
    is_alone = not any(is_model(each.path, each.content_type) and without_suffix(each.path) == stem for each in beside)
    return pictures_beside(path) if is_alone else []


def _is_occupied(conn: Connection, account: Account, deleted: DeletedModel) -> bool:
    path = deleted.path
    is_taken = files.at(conn, account.id, [path]) or files.links(conn, account.id, [path])
    return bool(is_taken or (deleted.is_shared and shared_files.at(conn, path)))


def _put_back(conn: Connection, account: Account, deleted: DeletedModel, most: int, now: int) -> None:
    path = deleted.path
    if deleted.is_own:
        file = files.new_file(account.id, path, deleted.digest, deleted.size, deleted.content_type, now)
        files.put(conn, dataclasses.replace(file, about=deleted.about), most)
    if deleted.is_shared:
        shared = (path, deleted.digest, deleted.size, deleted.content_type, account.id, now, deleted.about)
        shared_files.share(conn, SharedFile(*shared))
    if deleted.link is not None:
        files.link(conn, account.id, {path: deleted.link}, now)
