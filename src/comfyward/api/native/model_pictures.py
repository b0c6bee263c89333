"""Pictures of models: the one that lies beside a model, or the cover in its own metadata; decoded in confinement."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from comfyward.api.contents import Content
from comfyward.api.native.pictures import Pictures
from comfyward.dispatch.safetensors import read_header, read_text
from comfyward.errors import NotFound
from comfyward.files.objects import Objects
from comfyward.runs.files import content_type_of
from comfyward.store import usable_files
from comfyward.store.db import Database
from comfyward.store.files import StoredFile

QUALITY = 80
WEBP = "image/webp"
SUFFIX = ".safetensors"


class ModelPictures:
    """Only of models that the account has or that are shared; those of workers lie on their hosts."""

    def __init__(self, db: Database, pictures: Pictures, objects: Objects) -> None:
        self._db, self._pictures, self._objects = db, pictures, objects

    async def picture(self, account_id: str, path: str) -> bytes:
        """The picture of the model at a path, as WebP. Raises NotFound, InvalidRequest."""
        stem = path.rpartition(".")[0] or path
        beside = await self._db.read(usable_files.beside, account_id, f"{stem}.")
        return await self._of(account_id, stem, beside)

    async def _of(self, owner: str, stem: str, beside: Mapping[str, StoredFile]) -> bytes:
        """Raises NotFound, InvalidRequest."""
        for path, file in sorted(beside.items()):
            if path.rpartition(".")[0] in (stem, f"{stem}.preview") and content_type_of(path).startswith("image/"):
                content = Content(file.digest, file.size, file.content_type, path)
                if converted := await self._pictures.converted(owner, content, f"webp;{QUALITY}", "rgba"):
                    return converted.data
        if model := beside.get(f"{stem}{SUFFIX}"):
            header = await read_header(self._objects, owner, model)
            return await self._pictures.as_webp(owner, await _cover(owner, header), QUALITY)
        raise NotFound("The model has no picture.")


async def _cover(owner: str, header: dict[str, Any]) -> bytes:
    """The first of the pictures inside a model: those of SwarmUI, else that of the model specification.

    Raises NotFound.
    """
    try:
        metadata = header["__metadata__"]
        if "ssmd_cover_images" in metadata:
            pictures = await read_text(owner, str(metadata["ssmd_cover_images"]))
            return base64.b64decode(pictures[0])
        return base64.b64decode(str(metadata["modelspec.thumbnail"]).partition("base64,")[2])
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error) as error:
        raise NotFound("The model has no picture.") from error
