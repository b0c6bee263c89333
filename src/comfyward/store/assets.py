"""Operations on files as ComfyUI's assets: lists by tag, name and metadata; labels, tags and descriptions.

A file's first tags (`input`, `output`, or `models` with `model_type:loras`) follow from its path; others are stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, select, update

from comfyward.store.files import FILE_COLUMNS, StoredFile, by_id, file_of
from comfyward.store.rows import text_of
from comfyward.store.schema import files, runs

ROLES = ("input", "output", "models")
MODEL_TYPE = "model_type:"

Sort = Literal["name", "created_at", "updated_at", "size", "last_access_time"]


@dataclass(frozen=True)
class Asset:
    """A file, with the prompt id of the run that produced it."""

    file: StoredFile
    prompt_id: str | None

    @property
    def tags(self) -> tuple[str, ...]:
        return (*path_tags(self.file.path), *self.file.tags)

    @property
    def updated_at(self) -> int:
        return int(self.file.about.get("updated_at") or self.file.named_at)

    def position(self, sort: Sort) -> tuple[Any, str]:
        """Its sort key, unique by its id."""
        key: Any = {"name": self.file.name, "created_at": self.file.created_at, "size": self.file.size}.get(
            sort, self.updated_at
        )
        return key, self.file.id


@dataclass(frozen=True)
class AssetFilter:
    """Selects assets. A value in `about` matches an equal value or a member of a list."""

    include: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    name_contains: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def holds(self, asset: Asset) -> bool:
        tags = set(asset.tags)
        if not self.include <= tags or self.exclude & tags:
            return False
        if self.name_contains.lower() not in asset.file.name.lower():
            return False
        said = asset.file.about.get("user_metadata") or {}
        return all(_meets(said.get(key), wanted) for key, wanted in self.about.items())


def path_tags(path: str) -> tuple[str, ...]:
    """The tags that follow from a file's path.

    >>> path_tags("/models/loras/deep/a.safetensors")
    ('models', 'model_type:loras')
    """
    root, _, rest = path.removeprefix("/").partition("/")
    if root == "models":
        return root, MODEL_TYPE + rest.partition("/")[0]
    return (root,) if root in ROLES else ()


def find(conn: Connection, account_id: str, which: AssetFilter) -> list[Asset]:
    """The account's assets that match a filter, unordered."""
    return [asset for asset in map(_asset, conn.execute(_of(account_id))) if which.holds(asset)]


def get(conn: Connection, account_id: str, file_id: str) -> Asset:
    """Raises NotFound."""
    file = by_id(conn, account_id, file_id)
    prompt_id = conn.scalar(select(runs.c.prompt_id).where(runs.c.id == file.run_id)) if file.run_id else None
    return Asset(file, prompt_id)


def describe(
    conn: Connection, account_id: str, file_id: str, *, label: str | None, about: Mapping[str, Any], now: int
) -> Asset:
    """Updates a file's label, and the given keys of `about`. Raises NotFound."""
    asset = get(conn, account_id, file_id)
    said = {**asset.file.about, **about, "updated_at": now}
    file = dataclasses.replace(asset.file, label=asset.file.label if label is None else label, about=said)
    values = {"label": file.label, "about": text_of(said)}
    conn.execute(update(files).where(files.c.id == file_id).values(values))
    return dataclasses.replace(asset, file=file)


def tag(
    conn: Connection, account_id: str, file_id: str, add: Iterable[str] = (), remove: Iterable[str] = ()
) -> tuple[Asset, Asset]:
    """Adds and removes tags of an asset. Returns it before and after. Raises NotFound."""
    before, gone = get(conn, account_id, file_id), set(remove)
    new = [each for each in add if each not in before.tags]
    tags = tuple(each for each in (*before.file.tags, *new) if each not in gone)
    conn.execute(update(files).where(files.c.id == file_id).values(tags=text_of(list(tags))))
    return before, dataclasses.replace(before, file=dataclasses.replace(before.file, tags=tags))


def tag_lists(conn: Connection, account_id: str) -> list[tuple[str, ...]]:
    """The tags of each of the account's assets."""
    rows = conn.execute(select(files.c.path, files.c.tags).where(files.c.account_id == account_id))
    return [(*path_tags(row.path), *msgspec.json.decode(row.tags)) for row in rows]


def _of(account_id: str) -> Any:
    query = select(*FILE_COLUMNS, runs.c.prompt_id).outerjoin(runs, runs.c.id == files.c.run_id)
    return query.where(files.c.account_id == account_id)


def _asset(row: Row[*tuple[Any, ...]]) -> Asset:
    *of_file, prompt_id = row
    return Asset(file_of(of_file), prompt_id)


def _meets(said: Any, wanted: Any) -> bool:
    options = wanted if isinstance(wanted, list) else [wanted]
    values: Sequence[Any] = said if isinstance(said, list) else [said]
    return any(option in values for option in options)
