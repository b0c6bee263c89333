"""Files of each kind that carry texts, made by real encoders, as ComfyUI and other programs make them."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

import av
from PIL import Image
from PIL.PngImagePlugin import PngInfo

Texts = Mapping[str, str]
Maker = Callable[[Texts], bytes]
EXIF_IFD, USER_COMMENT, MODEL = 0x8769, 0x9286, 0x0110


def encoded(form: str, **how: Any) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (16, 16), "green").save(data, form, **how)
    return data.getvalue()


def png(texts: Texts) -> bytes:
    about = PngInfo()
    for name, text in texts.items():
        about.add_text(name, text)
    return encoded("PNG", pnginfo=about)


def png_packed(texts: Texts) -> bytes:
    """zTXt."""
    about = PngInfo()
    for name, text in texts.items():
        about.add_text(name, text, zip=True)
    return encoded("PNG", pnginfo=about)


def png_international(texts: Texts) -> bytes:
    """iTXt."""
    about = PngInfo()
    for name, text in texts.items():
        about.add_itxt(name, text, "en", name)
    return encoded("PNG", pnginfo=about)


def png_international_packed(texts: Texts) -> bytes:
    about = PngInfo()
    for name, text in texts.items():
        about.add_itxt(name, text, zip=True)
    return encoded("PNG", pnginfo=about)


def png_behind_the_picture(texts: Texts) -> bytes:
    about = PngInfo()
    for name, text in texts.items():
        about.add(b"tEXt", name.encode() + b"\0" + text.encode(), after_idat=True)
    return encoded("PNG", pnginfo=about)


def png_moving(texts: Texts) -> bytes:
    """As ComfyUI's SaveAnimatedPNG."""
    about, data = PngInfo(), io.BytesIO()
    for name, text in texts.items():
        about.add(b"comf", name.encode("latin-1") + b"\0" + text.encode("latin-1"), after_idat=True)
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    frames[0].save(data, "PNG", pnginfo=about, save_all=True, append_images=frames[1:])
    return data.getvalue()


def png_exif(texts: Texts) -> bytes:
    return encoded("PNG", exif=exif_tags(texts))


def webp(texts: Texts) -> bytes:
    return encoded("WEBP", exif=exif_tags(texts))


def webp_moving(texts: Texts) -> bytes:
    """As ComfyUI's SaveAnimatedWEBP."""
    data = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    frames[0].save(data, "WEBP", exif=exif_tags(texts), save_all=True, append_images=frames[1:])
    return data.getvalue()


def jpeg(texts: Texts) -> bytes:
    return encoded("JPEG", exif=exif_tags(texts))


def jpeg_comment(texts: Texts) -> bytes:
    return encoded("JPEG", exif=exif_comment(json.dumps(texts)))


def avif(texts: Texts) -> bytes:
    return encoded("AVIF", exif=exif_tags(texts))


def avif_comment(texts: Texts) -> bytes:
    return encoded("AVIF", exif=exif_comment(json.dumps(texts)))


def exif_tags(texts: Texts) -> bytes:
    """EXIF with "Name:text" in 0x0110 and downwards."""
    exif = Image.Exif()
    for number, (name, text) in enumerate(texts.items()):
        exif[MODEL - number] = f"{name.capitalize()}:{text}"
    return exif.tobytes()


def exif_comment(text: str, how: str = "utf-16-be") -> bytes:
    """EXIF with a text as UserComment, as WebUI and others write it."""
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = b"UNICODE\0" + text.encode(how)
    return exif.tobytes()


def video(form: str, codec: str) -> Callable[[Texts], bytes]:
    def make(texts: Texts) -> bytes:
        data = io.BytesIO()
        options = {"movflags": "use_metadata_tags"} if form in ("mp4", "mov") else {}
        with av.open(data, "w", format=form, options=options) as made:
            made.metadata.update(texts)
            stream: Any = made.add_stream(codec, rate=4)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for _ in range(4):
                made.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
            made.mux(stream.encode())
        return data.getvalue()

    make.__name__ = f"{form}_{codec}"
    return make


def sound(form: str, codec: str, layout: str = "s16") -> Callable[[Texts], bytes]:
    def make(texts: Texts) -> bytes:
        data = io.BytesIO()
        with av.open(data, "w", format=form) as made:
            made.metadata.update(texts)
            stream: Any = made.add_stream(codec, rate=48000)
            frame = av.AudioFrame(layout, "stereo", 4800)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.rate, frame.pts = 48000, 0
            made.mux(stream.encode(frame))
            made.mux(stream.encode())
        return data.getvalue()

    make.__name__ = f"{form}_{codec}"
    return make


def svg(texts: Texts) -> bytes:
    """As ComfyUI's SaveSVGNode: objects in CDATA, in an SVG with a declaration."""
    metadata = json.dumps({name: json.loads(text) for name, text in texts.items()})
    head = '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">'
    return f"{head}<metadata><![CDATA[\n{metadata}\n]]></metadata><path d='M0 0h9v9z'/></svg>".encode()


def svg_escaped(texts: Texts) -> bytes:
    return f"<s:svg xmlns:s='x'><s:metadata>{escape(json.dumps(texts))}</s:metadata></s:svg>".encode()


def glb(texts: Texts) -> bytes:
    return glb_of({"version": "2.0", "extras": dict(texts)})


def glb_objects(texts: Texts) -> bytes:
    return glb_of({"version": "2.0", "extras": {name: json.loads(text) for name, text in texts.items()}})


def glb_of(asset: dict[str, Any]) -> bytes:
    content = json.dumps({"asset": asset, "meshes": []}).encode()
    content += b" " * (-len(content) % 4)
    body = struct.pack("<I4s", len(content), b"JSON") + content + struct.pack("<I4s", 4, b"BIN\0") + bytes(4)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def safetensors(texts: Texts) -> bytes:
    """Also a .latent, which is one."""
    header = {"__metadata__": dict(texts), "latent": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    content = json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + bytes(4)


def json_of_both(texts: Texts) -> bytes:
    return json.dumps({name: json.loads(text) for name, text in texts.items()}).encode()


def json_of_texts(texts: Texts) -> bytes:
    return json.dumps(texts, indent=1).encode()


KINDS: tuple[Callable[[Texts], bytes], ...] = (
    *(png, png_packed, png_international, png_international_packed, png_behind_the_picture, png_moving, png_exif),
    *(webp, webp_moving, jpeg, jpeg_comment, avif, avif_comment),
    *(video("mp4", "mpeg4"), video("mov", "mpeg4"), video("webm", "libvpx-vp9"), video("matroska", "mpeg4")),
    *(sound("flac", "flac"), sound("mp3", "libmp3lame", "s16p"), sound("ogg", "libopus"), sound("opus", "libopus")),
    *(svg, svg_escaped, glb, glb_objects, safetensors, json_of_both, json_of_texts),
)


def png_chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    """A chunk, which may lie about its length."""
    told = struct.pack(">I", len(data) if length is None else length)
    return told + kind + data + struct.pack(">I", zlib.crc32(kind + data))
