"""ComfyUI's JSON for assets, and the pages of their lists."""

from __future__ import annotations

import datetime
from typing import Any
from urllib.parse import quote

from comfyward.api.native.asset_errors import AssetError
from comfyward.api.native.asset_requests import AssetPage
from comfyward.api.paging import InvalidCursor, cursor_of, place_of
from comfyward.store import assets
from comfyward.store.assets import Asset
from comfyward.store.files import StoredFile


def asset_shape(asset: Asset) -> dict[str, Any]:
    file = asset.file
    digest = f"blake3:{file.digest}"
    shape = {
        "id": file.id,
        "name": file.name,
        "hash": digest,
        "asset_hash": digest,
        "loader_path": _loader_path(file),
        "display_name": file.path.partition("/")[2].partition("/")[2] if assets.path_tags(file.path) else None,
        "size": file.size,
        "mime_type": file.content_type,
        "tags": sorted(asset.tags),
        "preview_url": _preview_url(file),
        "preview_id": file.about.get("preview_id"),
        "user_metadata": file.about.get("user_metadata") or {},
        "is_immutable": False,
        "job_id": asset.prompt_id,
        "prompt_id": asset.prompt_id,
        "created_at": _time(file.created_at),
        "updated_at": _time(asset.updated_at),
        "last_access_time": _time(asset.updated_at),
    }
    return {name: value for name, value in shape.items() if value is not None}


def _loader_path(file: StoredFile) -> str | None:
    """The name that a loader takes: the path below the folder that it lists."""
    match assets.path_tags(file.path):
        case ("models", _):
            return file.path.split("/", 3)[3]
        case (_,):
            return file.path.split("/", 2)[2]
        case _:
            return None


def _preview_url(file: StoredFile) -> str | None:
    kind, _, rest = file.path.removeprefix("/").partition("/")
    if kind not in ("input", "output"):
        return None
    subfolder, _, name = rest.rpartition("/")
    below = f"&subfolder={quote(subfolder, safe='')}" if subfolder else ""
    return f"/api/view?type={kind}&filename={quote(name, safe='')}{below}"


def _time(time_ms: int) -> str:
    return datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).isoformat()


def page_of_assets(found: list[Asset], asked: AssetPage) -> tuple[list[Asset], str | None]:
    """(the assets of a page, the cursor of the next one). Raises AssetError."""
    ordered = sorted(found, key=lambda asset: asset.position(asked.sort), reverse=asked.descending)
    start = asked.offset if asked.after is None else _after(ordered, asked)
    page = ordered[start : start + asked.limit]
    if not page or start + len(page) >= len(ordered):
        return page, None
    return page, cursor_of(asked.sort, asked.descending, *page[-1].position(asked.sort))


def _after(ordered: list[Asset], asked: AssetPage) -> int:
    try:
        sort, descending, *last = place_of(asked.after or "", str, bool, str | int, str)
        if (sort, descending) != (asked.sort, asked.descending):
            raise InvalidCursor("It is of a list in another order.")
        positions = enumerate(list(asset.position(asked.sort)) for asset in ordered)
        past = (index for index, each in positions if (each < last if asked.descending else each > last))
        return next(past, len(ordered))
    except (InvalidCursor, TypeError) as error:
        raise AssetError("INVALID_CURSOR", "Invalid cursor.") from error
