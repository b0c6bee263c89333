"""Operations on archives of packs that were uploaded: any server finds the files of a tree that it does not have."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, or_, select, update

from comfyward.store.schema import environment_locks, environment_revisions, environment_trees, environments


def put(conn: Connection, tree: str, digest: str, now: int) -> None:
    """Stores which blob unpacks to a tree."""
    columns = environment_trees.c
    changed = update(environment_trees).where(columns.tree == tree).values(digest=digest, stored_at=now)
    if conn.execute(changed).rowcount == 0:
        conn.execute(insert(environment_trees).values(tree=tree, digest=digest, stored_at=now))


def archive_of(conn: Connection, tree: str) -> str | None:
    """The digest of the archive of a tree; None if it was not uploaded."""
    return conn.scalar(select(environment_trees.c.digest).where(environment_trees.c.tree == tree))


def prune(conn: Connection, before: int) -> int:
    """Forgets those stored before a time that no spec and no revision names. Returns their number."""
    gone = 0
    for tree in list(conn.scalars(select(environment_trees.c.tree).where(environment_trees.c.stored_at < before))):
        if not _is_named(conn, tree):
            gone += conn.execute(delete(environment_trees).where(environment_trees.c.tree == tree)).rowcount
    return gone


def _is_named(conn: Connection, tree: str) -> bool:
    texts = (environments.c.spec, environment_revisions.c.spec, environment_locks.c.lock)
    named = (select(text).where(text.contains(tree, autoescape=True)).exists() for text in texts)
    return bool(conn.scalar(select(or_(*named))))
