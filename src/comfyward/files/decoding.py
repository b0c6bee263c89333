"""Decodes one file of somebody's: run in a process of its own, confined before it reads more than the first bytes.

    python -m comfyward.files.decoding thumbnail < SOURCE > TARGET

Its environment is empty; the files are those that it has open. A further file is given by its descriptor.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from typing import IO, Any

from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageOps,
    ImageStat,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)
from PIL.PngImagePlugin import PngInfo

from comfyward.sandbox.confine import Limits, confine

WIDTH = 300  # as ComfyICU's thumbnails
QUALITY = 85
MAX_PIXELS = 128 << 20
LIMITS = Limits(memory_bytes=2 << 30, cpu_s=20, file_bytes=512 << 20)
# Nothing else is tried: Pillow knows forty formats, some of which start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_LOADED = (AvifImagePlugin, GifImagePlugin, TiffImagePlugin, WebPImagePlugin)


def main(operation: str, *more: str) -> None:
    source, target = os.fdopen(0, "rb"), os.fdopen(1, "wb")
    container = _container_format(os.pread(0, 16, 0)) if operation in ("thumbnail", "graphs") else None
    _load(container is not None)
    confine(LIMITS)
    match operation:
        case "thumbnail":
            _thumbnail(source, target, container)
        case "convert":
            form, quality, channel = more
            _convert(source, target, form, int(quality), channel)
        case "mask":
            _mask(source, target, os.fdopen(int(more[0]), "rb"))
        case "difference":
            target.write(json.dumps({"difference": _difference(source, os.fdopen(int(more[0]), "rb"))}).encode())
        case "graphs":
            target.write(json.dumps(_graphs(source, container)).encode())
    target.flush()
    os._exit(0)  # what decoders registered for the end is not run


def _load(with_video: bool) -> None:
    """Loads all code that decoding needs: nothing can be loaded later."""
    Image.preinit()
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    if with_video:
        import av

        for module in pkgutil.walk_packages(av.__path__, "av."):
            if module.name not in ("av.__main__", "av.datasets"):
                importlib.import_module(module.name)


def _opened(source: IO[bytes]) -> Image.Image:
    """A picture whose header says that it is small enough. Raises ValueError, UnidentifiedImageError."""
    picture: Image.Image = Image.open(source, formats=FORMATS)
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError("too many pixels")
    return picture


def _thumbnail(source: IO[bytes], target: IO[bytes], container: str | None) -> None:
    picture = _opened(source) if container is None else _first_frame(source, container)
    picture.draft("RGB", (WIDTH * 2, WIDTH * 8))  # a JPEG is decoded smaller
    picture = ImageOps.exif_transpose(picture)
    picture.thumbnail((WIDTH, WIDTH * 4))
    picture.convert("RGBA" if "A" in picture.getbands() else "RGB").save(target, "WEBP", quality=QUALITY)


def _convert(source: IO[bytes], target: IO[bytes], form: str, quality: int, channel: str) -> None:
    picture = _opened(source)
    if channel == "a":
        alpha = picture.convert("RGBA").getchannel("A")
        picture = Image.new("RGBA", picture.size)
        picture.putalpha(alpha)
    elif channel == "rgb" or form == "jpeg":
        picture = picture.convert("RGB")
    elif picture.mode not in ("RGB", "RGBA"):
        picture = picture.convert("RGBA")
    picture.save(target, form.upper(), quality=quality)


def _mask(source: IO[bytes], target: IO[bytes], mask: IO[bytes]) -> None:
    original = _opened(source)
    alpha = _opened(mask).convert("RGBA").getchannel("A").resize(original.size)
    texts = PngInfo()
    for key, value in getattr(original, "text", {}).items():
        texts.add_text(key, value)
    picture = original.convert("RGBA")
    picture.putalpha(alpha)
    picture.save(target, "PNG", pnginfo=texts, compress_level=4)


def _difference(source: IO[bytes], other: IO[bytes]) -> float:
    """The mean difference of two pictures' colours, of 0 to 1; 1 for pictures of two sizes."""
    one, two = (_opened(each).convert("RGBA") for each in (source, other))
    if one.size != two.size:
        return 1.0
    means = ImageStat.Stat(ImageChops.difference(one, two)).mean
    return sum(means) / len(means) / 255


def _graphs(source: IO[bytes], container: str | None) -> dict[str, str]:
    """The graphs in the text chunks of a PNG, the EXIF texts ("workflow:{…}") of a WEBP, or the metadata of a video.

    (Source: ComfyUI's SaveImage, SaveAnimatedWEBP and SaveVideo.)
    """
    texts: dict[str, Any]
    if container is None:
        picture = _opened(source)
        texts = {str(key): value for key, value in picture.info.items() if isinstance(value, str)}
        exif = [value for value in picture.getexif().values() if isinstance(value, str)]
        texts |= {name: value for name, _, value in (text.partition(":") for text in exif)}
    else:
        import av

        with av.open(source, "r", format=container) as opened:
            texts = dict(opened.metadata)
    return {name.lower(): value for name, value in texts.items() if name.lower() in ("workflow", "prompt")}


def _first_frame(source: IO[bytes], container: str) -> Image.Image:
    """Opens only containers that cannot refer to other files or URLs, as the format that their first bytes show."""
    import av

    with av.open(source, "r", format=container) as opened:
        stream = opened.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        frame: Image.Image = next(opened.decode(stream)).to_image()  # type: ignore[no-untyped-call]
        return frame


def _container_format(head: bytes) -> str | None:
    """The name of a video's container; None for anything else. (An AVIF picture begins like an MP4.)"""
    if head[4:8] == b"ftyp" and head[8:12] not in (b"avif", b"avis", b"mif1"):
        return "mp4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return None


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, MemoryError, Image.DecompressionBombError):
        os._exit(1)
