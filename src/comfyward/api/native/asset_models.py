"""The bodies of ComfyUI's assets, for their description (source: ComfyUI's app/assets/api)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

HASH = "`blake3:` and 64 hex digits."


class AssetQuery(BaseModel):
    include_tags: str | None = Field(None, description="With commas, or repeated.")
    exclude_tags: str | None = None
    name_contains: str | None = None
    metadata_filter: str | None = Field(None, description="A JSON object.")
    sort: Literal["name", "created_at", "updated_at", "size", "last_access_time"] = "created_at"
    order: Literal["asc", "desc"] = "desc"
    limit: int | None = None
    offset: int | None = None
    after: str | None = Field(None, description="The `next_cursor` of the page before.")


class Asset(BaseModel):
    """A file of the account; unknown values are absent."""

    id: str
    name: str
    hash: str = Field(description=HASH)
    asset_hash: str = Field(description=HASH)
    loader_path: str | None = Field(None, description="The name that a loader takes.")
    display_name: str | None = None
    size: int
    mime_type: str
    tags: list[str]
    preview_url: str | None = None
    preview_id: str | None = None
    user_metadata: dict[str, Any]
    is_immutable: bool
    job_id: str | None = None
    prompt_id: str | None = None
    created_at: datetime
    updated_at: datetime
    last_access_time: datetime


class NewAsset(Asset):
    created_new: bool = Field(description="False if the bytes were here already.")


class AssetList(BaseModel):
    assets: list[Asset]
    total: int
    has_more: bool
    next_cursor: str | None = None


class AssetUpload(BaseModel):
    """A form with a file, or with the hash of known bytes."""

    file: bytes | None = None
    hash: str | None = Field(None, description=HASH)
    tags: str | None = Field(None, description="`input`, `output`, or `models` with `model_type:FOLDER`; others too.")
    name: str | None = None
    mime_type: str | None = None
    user_metadata: str | None = Field(None, description="A JSON object.")
    preview_id: str | None = None


class HashRequest(BaseModel):
    hash: str = Field(description=HASH)
    tags: list[str] | None = None
    name: str | None = None
    mime_type: str | None = None
    user_metadata: dict[str, Any] | None = None
    preview_id: str | None = None


class AssetChange(BaseModel):
    """At least one of them."""

    name: str | None = None
    user_metadata: dict[str, Any] | None = None
    preview_id: str | None = None


class ContentQuery(BaseModel):
    disposition: Literal["attachment", "inline"] = "attachment"


class Tags(BaseModel):
    tags: list[str]


class TagsAdded(BaseModel):
    added: list[str]
    already_present: list[str]
    total_tags: list[str]


class TagsRemoved(BaseModel):
    removed: list[str]
    not_present: list[str]
    total_tags: list[str]


class Counts(BaseModel):
    tag_counts: dict[str, int]


class TagQuery(BaseModel):
    prefix: str | None = None
    order: Literal["count_desc", "name_asc"] = "count_desc"
    limit: int | None = None
    offset: int | None = None


class TagCount(BaseModel):
    name: str
    count: int


class TagList(BaseModel):
    tags: list[TagCount]
    total: int
    has_more: bool
