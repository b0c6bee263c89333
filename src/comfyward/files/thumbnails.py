"""Thumbnails of pictures and of the first frame of videos.

Media are hostile input: they are decoded in a process of their own, with limits on memory and time
(`python -m comfyward.files.thumbnails SOURCE TARGET`).
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

import av
from PIL import Image, ImageOps, UnidentifiedImageError

WIDTH = 300  # as ComfyICU's thumbnails
QUALITY = 85
MAX_PIXELS = 200_000_000
MEMORY_BYTES = 4 << 30
CPU_S = 30
WALL_S = 60.0

PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff", "image/avif")


def has_thumbnail(content_type: str) -> bool:
    """Whether a file of this type gets one."""
    return content_type in PICTURES or content_type.startswith("video/")


async def make_thumbnail(source: Path, target: Path) -> bool:
    """Writes a WebP thumbnail of a media file; False when the file cannot be read as one."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-m",
        "comfyward.files.thumbnails",
        str(source),
        str(target),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(WALL_S):
            return await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _main(source: str, target: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        picture: Image.Image = Image.open(source)
    except UnidentifiedImageError:
        picture = _first_frame(source)
    picture = ImageOps.exif_transpose(picture)
    picture.thumbnail((WIDTH, WIDTH * 4))
    picture.convert("RGBA" if "A" in picture.getbands() else "RGB").save(target, "WEBP", quality=QUALITY)


def _first_frame(source: str) -> Image.Image:
    """Only containers that cannot name other files or URLs are opened, and only as what they are."""
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
    raise ValueError("not a video that gets a thumbnail")


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2])
