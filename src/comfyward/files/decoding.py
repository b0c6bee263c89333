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
from typing import IO

from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageOps,
    ImageStat,
    MpoImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)
from PIL.PngImagePlugin import PngInfo

from comfyward.files.carriers.media import container_of, sound_of
from comfyward.files.carriers.reading import HEAD_BYTES, texts_of
from comfyward.sandbox.confine import Limits, confine

WIDTH = 300  # as ComfyICU's thumbnails
QUALITY = 85
MAX_PIXELS = 128 << 20
LIMITS = Limits(memory_bytes=2 << 30, cpu_s=20, file_bytes=512 << 20)
# Nothing else is tried: Pillow knows forty formats, some of which start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_LOADED = (AvifImagePlugin, GifImagePlugin, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin)


def main(operation: str, *more: str) -> None:
    source, target = os.fdopen(0, "rb"), os.fdopen(1, "wb")
    head = os.pread(0, HEAD_BYTES, 0)
    container = container_of(head) if operation in ("thumbnail", "texts") else None
    _load(with_av=container is not None or (operation == "texts" and sound_of(head) is not None))
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
        case "texts":
            target.write(json.dumps(texts_of(source, head, _opened)).encode())
    target.flush()
    os._exit(0)  # what decoders registered for the end is not run


def _load(*, with_av: bool) -> None:
    """Loads all code that decoding needs: nothing can be loaded later."""
    Image.preinit()
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    if with_av:
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


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, MemoryError, Image.DecompressionBombError):
        os._exit(1)
