"""Pictures in the form that a client asks for: converted once, then stored beside their originals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from comfyward.api.contents import Content, Contents
from comfyward.api.whole_numbers import whole_number
from comfyward.errors import InvalidRequest
from comfyward.files.objects import Objects, view_key
from comfyward.files.pictures import Decoders
from comfyward.sandbox.temporary import TemporaryFolder

DEFAULT_QUALITY = 90


@dataclass(frozen=True)
class Converted:
    data: bytes
    content_type: str


class Pictures:
    def __init__(self, objects: Objects, contents: Contents, decoders: Decoders) -> None:
        self._objects, self._contents, self._decoders = objects, contents, decoders

    async def converted(self, owner: str, content: Content, preview: str | None, channel: str) -> Converted | None:
        """An account's picture in the form of ComfyUI's `preview` (such as `webp;80`) and `channel`.

        None if it is no picture.
        """
        form, _, quality = (preview or "").partition(";")
        form = form if form in ("webp", "jpeg") else "webp" if preview is not None else "png"
        number = whole_number(quality)
        percent = DEFAULT_QUALITY if number is None else min(100, number)
        channel = channel if channel in ("rgb", "a") else "rgba"
        key = view_key(content.digest, f"{form}-{percent}-{channel}")
        if await self._objects.has(key):
            return Converted(await self._objects.read_all(key), f"image/{form}")

        async def write(folder: Path, target: Path) -> bool:
            await self._contents.copy(content.digest, folder / "source")
            source = folder / "source"
            return await self._decoders.convert(owner, source, target, form=form, quality=percent, channel=channel)

        try:
            data = await written_by(write)
        except InvalidRequest:
            return None
        await self._objects.put_derived(key, data)
        return Converted(data, f"image/{form}")

    async def as_webp(self, owner: str, picture: bytes, quality: int) -> bytes:
        """A picture of an account as WebP. Raises InvalidRequest if it is none."""

        async def write(folder: Path, target: Path) -> bool:
            (folder / "source").write_bytes(picture)
            form = {"form": "webp", "channel": "rgba"}
            return await self._decoders.convert(owner, folder / "source", target, quality=quality, **form)

        return await written_by(write)

    async def masked(self, owner: str, original: str, mask: AsyncIterator[bytes]) -> bytes:
        """The picture with a digest as PNG, with the alpha of the mask. Raises InvalidRequest if one is no picture."""

        async def write(folder: Path, target: Path) -> bool:
            await self._contents.copy(original, folder / "original")
            with (folder / "mask").open("wb") as file:
                async for piece in mask:
                    file.write(piece)
            return await self._decoders.put_mask(owner, folder / "original", folder / "mask", target)

        return await written_by(write)


async def written_by(write: Callable[[Path, Path], Awaitable[bool]]) -> bytes:
    """The bytes that a function writes to its second argument, with a folder of its own as the first.

    Raises InvalidRequest when it returns False.
    """
    with TemporaryFolder() as folder:
        if not await write(folder, folder / "target"):
            raise InvalidRequest("The file is not a picture that can be read.")
        return (folder / "target").read_bytes()
