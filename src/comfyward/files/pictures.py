"""Pictures derived from files: thumbnails (of a video's first frame), other forms, masks; and graphs embedded in them.

Media are hostile input: they are decoded in a process of their own, with limits on memory and time
(`python -m comfyward.files.pictures thumbnail SOURCE TARGET`).
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

import av
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

WIDTH = 300  # as ComfyICU's thumbnails
QUALITY = 85
MAX_PIXELS = 200_000_000
MEMORY_BYTES = 4 << 30
CPU_S = 30
WALL_S = 60.0

PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff", "image/avif")


def has_thumbnail(content_type: str) -> bool:
    """True if files of this type have thumbnails."""
    return content_type in PICTURES or content_type.startswith("video/")


async def make_thumbnail(source: Path, target: Path) -> bool:
    """Writes a WebP thumbnail of a media file; False if the file cannot be read as one."""
    return await _in_subprocess("thumbnail", str(source), str(target))


async def convert(source: Path, target: Path, *, form: str, quality: int, channel: str) -> bool:
    """Writes a picture as `form` ("webp", "jpeg" or "png"); False if the file is not a picture.

    `channel` selects all channels ("rgba"), all but the alpha ("rgb"), or the alpha alone ("a").
    """
    return await _in_subprocess("convert", str(source), str(target), form, str(quality), channel)


async def put_mask(original: Path, mask: Path, target: Path) -> bool:
    """Writes the original as PNG with the alpha of the mask; False if one of them is not a picture."""
    return await _in_subprocess("mask", str(original), str(target), str(mask))


async def extract_graphs(source: Path, target: Path) -> bool:
    """Writes the graphs that ComfyUI embedded in a picture or video as JSON; False if the file cannot be read.

    The JSON is {"workflow": text, "prompt": text}, without those that are missing.
    """
    return await _in_subprocess("graphs", str(source), str(target))


async def _in_subprocess(*arguments: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "comfyward.files.pictures", *arguments, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(WALL_S):
            return await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _main(operation: str, source: str, target: str, *more: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    match operation:
        case "thumbnail":
            _thumbnail(source, target)
        case "convert":
            form, quality, channel = more
            _convert(source, target, form, int(quality), channel)
        case "mask":
            _mask(source, target, *more)
        case "graphs":
            Path(target).write_text(json.dumps(_graphs(source)))


def _thumbnail(source: str, target: str) -> None:
    try:
        picture: Image.Image = Image.open(source)
    except UnidentifiedImageError:
        picture = _first_frame(source)
    picture = ImageOps.exif_transpose(picture)
    picture.thumbnail((WIDTH, WIDTH * 4))
    picture.convert("RGBA" if "A" in picture.getbands() else "RGB").save(target, "WEBP", quality=QUALITY)


def _convert(source: str, target: str, form: str, quality: int, channel: str) -> None:
    picture: Image.Image = Image.open(source)
    if channel == "a":
        alpha = picture.convert("RGBA").getchannel("A")
        picture = Image.new("RGBA", picture.size)
        picture.putalpha(alpha)
    elif channel == "rgb" or form == "jpeg":
        picture = picture.convert("RGB")
    elif picture.mode not in ("RGB", "RGBA"):
        picture = picture.convert("RGBA")
    picture.save(target, form.upper(), quality=quality)


def _mask(source: str, target: str, mask: str) -> None:
    original: Image.Image = Image.open(source)
    alpha = Image.open(mask).convert("RGBA").getchannel("A").resize(original.size)
    texts = PngInfo()
    for key, value in getattr(original, "text", {}).items():
        texts.add_text(key, value)
    picture = original.convert("RGBA")
    picture.putalpha(alpha)
    picture.save(target, "PNG", pnginfo=texts, compress_level=4)


def _graphs(source: str) -> dict[str, str]:
    """The graphs in the text chunks of a PNG, the EXIF texts ("workflow:{…}") of a WEBP, or the metadata of a video.

    (Source: ComfyUI's SaveImage, SaveAnimatedWEBP and SaveVideo.)
    """
    try:
        picture: Image.Image = Image.open(source)
        texts = {str(key): value for key, value in picture.info.items() if isinstance(value, str)}
        exif = [value for value in picture.getexif().values() if isinstance(value, str)]
        texts |= {name: value for name, _, value in (text.partition(":") for text in exif)}
    except UnidentifiedImageError:
        with open(source, "rb") as file:
            container_format = _container_format(file.read(16))
            file.seek(0)
            with av.open(file, "r", format=container_format) as container:
                texts = dict(container.metadata)
    return {name.lower(): value for name, value in texts.items() if name.lower() in ("workflow", "prompt")}


def _first_frame(source: str) -> Image.Image:
    """Opens only containers that cannot refer to other files or URLs, as the format that their first bytes show."""
    with open(source, "rb") as file:
        container_format = _container_format(file.read(16))
        file.seek(0)
        with av.open(file, "r", format=container_format) as container:
            frame: Image.Image = next(container.decode(container.streams.video[0])).to_image()  # type: ignore[no-untyped-call]
            return frame


def _container_format(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    raise ValueError("not a container that is supported")


if __name__ == "__main__":
    _main(*sys.argv[1:])
