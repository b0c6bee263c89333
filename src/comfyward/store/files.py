"""Operations on the files of an account, which are names for blobs.

A path may have had several contents. The file *at* a path is the newest one; older ones stay reachable by id if they
are assets (Comfy API v2), and are deleted otherwise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Text,
    bindparam,
    column,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)

from comfyward.errors import NotFound
from comfyward.ids import new_uuid
from comfyward.paths import INPUT_ROOT, MODELS_ROOT, OUTPUT_ROOT
from comfyward.store import row_limits, shared_files
from comfyward.store.rows import text_of
from comfyward.store.schema import files, runs
from comfyward.store.schema import links as linked
from comfyward.store.statement import Statement, each_of, in_order, list_of
from comfyward.store.storage import check_file
from comfyward.workflows.listing import Paths

# Roots of the names that an account gives; outputs of runs are below /output/<run id>.
NAMED_ROOTS = (INPUT_ROOT, MODELS_ROOT)


@dataclass(frozen=True)
class StoredFile:
    """A name for a blob: an upload (usable in runs by name or id), or an output of a run (usable by id).

    `named_at` is when the path last got this content; without `expires_at` the file is kept. `label`, `tags` and
    `about` are its account's metadata (ComfyUI's assets).
    """

    id: str
    account_id: str
    path: str
    digest: str
    size: int
    content_type: str
    is_asset: bool
    run_id: str | None
    created_at: int
    named_at: int
    expires_at: int | None
    label: str = ""
    tags: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in lists: the label, or else the last part of its path."""
        return self.label or self.path.rpartition("/")[2]


def new_file(account_id: str, path: str, digest: str, size: int, content_type: str, now: int) -> StoredFile:
    """An upload without a row yet."""
    return StoredFile(new_uuid(), account_id, path, digest, size, content_type, False, None, now, now, None)


def file_path_of(file: StoredFile) -> str:
    """A file's path in Comfy API v2: relative to ComfyUI's input folder, `models/…`, or an output's name."""
    if file.run_id is not None:
        return file.path.removeprefix(f"{OUTPUT_ROOT}{file.run_id}/")
    return file.path.removeprefix(INPUT_ROOT).removeprefix("/")


_NAMES = list(StoredFile.__dataclass_fields__)
LISTED_BYTES = 250  # about what a file takes in a list
FILE_COLUMNS = [files.c[name] for name in _NAMES]
_INSERT = Statement(insert(files).values({name: bindparam(name) for name in _NAMES}))
_LINK = Statement(
    text(
        "INSERT INTO links (account_id, path, source, named_at) VALUES (:account_id, :path, :source, :now)"
        " ON CONFLICT (account_id, path) DO UPDATE SET source = excluded.source, named_at = excluded.named_at"
    )
)
_AT = Statement(
    select(*FILE_COLUMNS)
    .where(files.c.account_id == bindparam("account_id"), files.c.path == bindparam("path"))
    .order_by(files.c.named_at.desc(), files.c.id)
    .limit(1)
)
_NAMED = each_of(bindparam("names", type_=Text)).table_valued(column("value", Text), name="named")
_EACH = select(*FILE_COLUMNS).where(files.c.account_id == bindparam("account_id"))
_AT_EACH = Statement(_EACH.select_from(in_order(_NAMED, files)).where(files.c.path == _NAMED.c.value))
IS_REPLACED = exists().where(
    files.c.account_id == bindparam("account_id"), files.c.path == linked.c.path, files.c.named_at >= linked.c.named_at
)
_EACH_LINKED = select(linked.c.path, linked.c.source).where(
    linked.c.account_id == bindparam("account_id"), ~IS_REPLACED
)
_LINKED = Statement(_EACH_LINKED)
_LINKED_AT_EACH = Statement(_EACH_LINKED.select_from(in_order(_NAMED, linked)).where(linked.c.path == _NAMED.c.value))


def put(conn: Connection, file: StoredFile, most: int = 0) -> StoredFile:
    """Points a path at a blob. Its previous content is deleted, except assets, which stay reachable by id.

    Raises OverQuota if the account would store more than `most` bytes of files of its kind (0: no limit).
    """
    own = (files.c.account_id == file.account_id, files.c.path == file.path)
    conn.execute(delete(files).where(*own, files.c.is_asset == 0, files.c.digest != file.digest))
    return mint(conn, file, most)[0]


def mint(conn: Connection, file: StoredFile, most: int = 0) -> tuple[StoredFile, bool]:
    """Finds or creates the file with this path and content. Returns it, and True if it was created.

    Raises OverQuota like `put`. An existing file becomes the newest of its path,
    is kept at least as long as asked, and is an asset if either is.
    """
    same = (files.c.account_id == file.account_id, files.c.path == file.path, files.c.digest == file.digest)
    row = conn.execute(select(*FILE_COLUMNS).where(*same)).first()
    if row is None:
        check_file(conn, file.account_id, file.path, file.digest, file.size, most)
        _INSERT(conn, **_row(file))
        return file, True
    known = file_of(row)
    kept = None if None in (known.expires_at, file.expires_at) else max(known.expires_at or 0, file.expires_at or 0)
    known = dataclasses.replace(
        known, is_asset=known.is_asset or file.is_asset, named_at=file.named_at, expires_at=kept
    )
    changed = {"is_asset": int(known.is_asset), "named_at": known.named_at, "expires_at": kept}
    conn.execute(update(files).where(files.c.id == known.id).values(**changed))
    return known, False


def forget(conn: Connection, file_ids: Sequence[str]) -> None:
    """Deletes files by id; a sweep removes their blobs."""
    if file_ids:
        conn.execute(delete(files).where(files.c.id.in_(file_ids)))


def add_outputs(conn: Connection, outputs: Sequence[StoredFile]) -> None:
    """Adds a run's outputs."""
    _INSERT.many(conn, [_row(output) for output in outputs])


def link(conn: Connection, account_id: str, sources: Mapping[str, Mapping[str, Any]], now: int) -> None:
    """Stores the URLs that a run brought, by path, so the path alone is enough for the next run."""
    for path, source in sources.items():
        _LINK(conn, account_id=account_id, path=path, source=text_of(source), now=now)


def of_many_links(conn: Connection) -> list[str]:
    """The accounts that have stored more than LINKS URLs."""
    counted = select(linked.c.account_id).group_by(linked.c.account_id)
    return list(conn.scalars(counted.having(func.count() > row_limits.LINKS)))


def forget_links(conn: Connection, account_id: str) -> int:
    """Forgets the URLs that an account named longest ago, until nine tenths of LINKS are left. Returns how many.

    Programs that give each file a name of its own are never refused for it, and rarely need an old one.
    """
    own = linked.c.account_id == account_id
    newest_first = select(linked.c.path).where(own).order_by(linked.c.named_at.desc(), linked.c.path)
    old = newest_first.offset(row_limits.LINKS * 9 // 10)
    return conn.execute(delete(linked).where(own, linked.c.path.in_(old))).rowcount


def unlink(conn: Connection, account_id: str, path: str) -> None:
    """Forgets the URL that a run brought for a path."""
    conn.execute(delete(linked).where(linked.c.account_id == account_id, linked.c.path == path))


def set_about(conn: Connection, file_id: str, about: Mapping[str, Any]) -> None:
    """Replaces what an account says of a file."""
    conn.execute(update(files).where(files.c.id == file_id).values(about=text_of(about)))


def links(conn: Connection, account_id: str, paths: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    """URLs that the account's runs brought, by path: all, or those of these paths. Newer uploads win."""
    if paths is None:
        rows = _LINKED(conn, account_id=account_id)
    else:
        rows = _LINKED_AT_EACH(conn, account_id=account_id, names=list_of(paths))
    return {row.path: msgspec.json.decode(row.source) for row in rows}


def find(conn: Connection, account_id: str, prefix: str | None = None) -> list[StoredFile]:
    """The account's files below a path, sorted by path; by default all but outputs."""
    below: Any = (
        or_(*(files.c.path.startswith(root) for root in NAMED_ROOTS))
        if prefix is None
        else files.c.path.startswith(prefix, autoescape=True)
    )
    query = select(*FILE_COLUMNS).where(files.c.account_id == account_id, files.c.run_id.is_(None), below)
    newest = {row.path: file_of(row) for row in conn.execute(query.order_by(files.c.path, files.c.named_at))}
    return list(newest.values())


def usable_paths(conn: Connection, account_id: str) -> Paths:
    """All paths that a run can use by name alone: uploads, files that earlier runs brought by URL, and shared ones."""
    own = [file.path for file in find(conn, account_id)]
    return Paths([*own, *links(conn, account_id), *shared_files.paths(conn)])


def at(conn: Connection, account_id: str, paths: Collection[str]) -> list[StoredFile]:
    """The account's files at these paths."""
    return [file_of(row) for row in newest_of(_AT_EACH(conn, account_id=account_id, names=list_of(paths)))]


def newest_of(rows: Iterable[Any]) -> list[Any]:
    """The newest row of each path."""
    ordered = sorted(rows, key=lambda row: row.id, reverse=True)
    ordered.sort(key=lambda row: row.named_at)
    return list({row.path: row for row in ordered}.values())


def get(conn: Connection, account_id: str, path: str) -> StoredFile:
    """Raises NotFound."""
    row = _AT(conn, account_id=account_id, path=path).first()
    if row is None:
        raise NotFound(f"There is no file '{path}'.")
    return file_of(row)


def by_id(conn: Connection, account_id: str, file_id: str) -> StoredFile:
    """A file by id. Raises NotFound, also for another account's file."""
    row = conn.execute(select(*FILE_COLUMNS).where(files.c.account_id == account_id, files.c.id == file_id)).first()
    if row is None:
        raise NotFound(f"There is no asset '{file_id}'.")
    return file_of(row)


def by_id_of_any(conn: Connection, file_id: str) -> StoredFile:
    """A file of any account, for share links. Raises NotFound."""
    row = conn.execute(select(*FILE_COLUMNS).where(files.c.id == file_id)).first()
    if row is None:
        raise NotFound(f"There is no asset '{file_id}'.")
    return file_of(row)


def newest_result(
    conn: Connection, account_id: str, kind: str, path: str, workflow_id: str | None = None
) -> StoredFile:
    """The newest output (or temporary upload) with this path, of any run, or of a workflow's. Raises NotFound."""
    own = files.c.account_id == account_id
    exact = files.c.path == f"/{kind}/{path}"
    of_a_run = files.c.path == literal(OUTPUT_ROOT) + files.c.run_id + literal(f"/{path}")
    query = select(*FILE_COLUMNS).where(own, exact | of_a_run if kind == "output" else exact)
    if workflow_id is not None:
        of_workflow = select(runs.c.id).where(runs.c.account_id == account_id, runs.c.workflow_id == workflow_id)
        query = query.where(files.c.run_id.is_(None) | files.c.run_id.in_(of_workflow))
    row = conn.execute(query.order_by(files.c.named_at.desc()).limit(1)).first()
    if row is None:
        raise NotFound(f"There is no file '{path}'.")
    return file_of(row)


def newest_outputs(conn: Connection, account_id: str, workflow_id: str | None, most: int) -> list[str]:
    """The paths of the outputs of the newest runs, at most so many runs, of all workflows or of one: newest first."""
    own = [runs.c.account_id == account_id, runs.c.deleted_at.is_(None)]
    if workflow_id is not None:
        own.append(runs.c.workflow_id == workflow_id)
    newest = select(runs.c.id).where(*own).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(most)
    query = select(files.c.path).where(files.c.run_id.in_(newest), files.c.path.startswith(OUTPUT_ROOT))
    return list(conn.scalars(query.order_by(files.c.named_at.desc(), files.c.path)))


def remove(conn: Connection, account_id: str, path: str) -> StoredFile:
    """Deletes all files at a path and returns the newest. Runs that use them keep the bytes. Raises NotFound."""
    file = get(conn, account_id, path)
    conn.execute(delete(files).where(files.c.account_id == account_id, files.c.path == path))
    return file


def remove_by_id(conn: Connection, account_id: str, file_id: str) -> None:
    """Deletes one file. Runs that use it keep the bytes. Raises NotFound."""
    by_id(conn, account_id, file_id)
    conn.execute(delete(files).where(files.c.account_id == account_id, files.c.id == file_id))


def rename(conn: Connection, account_id: str, path: str, target: str, now: int) -> StoredFile:
    """Moves a file to another path. Raises NotFound."""
    file = remove(conn, account_id, path)
    moved = dataclasses.replace(file, id=new_uuid(), path=target, created_at=now, named_at=now)
    return put(conn, moved)


def expire(conn: Connection, now: int) -> int:
    """Deletes expired files. Returns how many."""
    return conn.execute(delete(files).where(files.c.expires_at < now)).rowcount


def file_of(row: Sequence[Any]) -> StoredFile:
    """A file from a row of FILE_COLUMNS."""
    values = list(row)
    values[-2], values[-1] = tuple(msgspec.json.decode(values[-2])), msgspec.json.decode(values[-1])
    file = StoredFile(*values)
    return dataclasses.replace(file, is_asset=bool(file.is_asset))


def _row(file: StoredFile) -> dict[str, Any]:
    written = {"is_asset": int(file.is_asset), "tags": text_of(list(file.tags)), "about": text_of(file.about)}
    return {**file.__dict__, **written}
