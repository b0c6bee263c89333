"""Files that are made to hurt whoever looks for a workflow in them are refused in words; what is whole before a fault
is found. The limits of a decoder (2 GiB, 20 s of CPU time) hold for each."""

from __future__ import annotations

import functools
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyward.dispatch.workflow_files import WorkflowFiles
from comfyward.errors import InvalidGraph
from comfyward.files.carriers.texts import MOST_BYTES, Texts
from comfyward.files.pictures import Decoders
from comfyward.workflows.carried import Carried
from comfyward.workflows.graph_limit import GraphLimit
from tests import carriers
from tests.carriers import KINDS, png_chunk

LIMIT = GraphLimit(1 << 20)
GRAPH: dict[str, Any] = {"1": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}}}
TEXTS = {"prompt": json.dumps(GRAPH), "workflow": json.dumps({"nodes": [{"id": 1}], "links": []})}
LARGEST = (1 << 32) - 1
PNG = carriers.png(TEXTS)
HEAD, PICTURE = PNG[:33], carriers.png({})[33:]
WHOLE = PNG[33 : -len(PICTURE)]


@functools.cache
def packed_gibibyte() -> bytes:
    """A GiB of spaces in a MiB."""
    packing = zlib.compressobj(9)
    return b"".join(packing.compress(b" " * (1 << 20)) for _ in range(1 << 10)) + packing.flush()


def png(*chunks: bytes) -> bytes:
    return HEAD + b"".join(chunks) + PICTURE


def png_of_long_text() -> bytes:
    return png(png_chunk(b"tEXt", b"prompt\0{}", LARGEST))


def png_of_packed_text() -> bytes:
    return png(png_chunk(b"zTXt", b"prompt\0\0" + packed_gibibyte()))


def png_of_packed_international_text() -> bytes:
    return png(png_chunk(b"iTXt", b"prompt\0\1\0\0\0" + packed_gibibyte()))


def png_of_many_chunks() -> bytes:
    return png(png_chunk(b"tEXt", b"") * 1_100_000)


def png_of_broken_exif() -> bytes:
    """A directory that follows itself."""
    return png(png_chunk(b"eXIf", b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8)))


def png_of_large_exif() -> bytes:
    """Tags that say to be gigabytes."""
    tags = b"".join(struct.pack("<HHII", tag, 2, LARGEST, 8) for tag in range(0x100, 0x8000))
    return png(png_chunk(b"eXIf", b"II*\0\x08\0\0\0" + struct.pack("<H", 0x7F00) + tags))


def webp_of_long_exif() -> bytes:
    return b"RIFF" + struct.pack("<I", LARGEST) + b"WEBPEXIF" + struct.pack("<I", LARGEST) + b"II*\0"


def glb_of_long_json() -> bytes:
    return struct.pack("<4sIII4s", b"glTF", 2, LARGEST, LARGEST, b"JSON") + b"{"


def glb_of_deep_json() -> bytes:
    content = b'{"asset":' + b"[" * 1_000_000
    return struct.pack("<4sIII4s", b"glTF", 2, LARGEST, len(content), b"JSON") + content


def safetensors_of_long_header() -> bytes:
    return struct.pack("<Q", LARGEST) + b'{"__metadata__":{}}'


def safetensors_of_longer_header() -> bytes:
    return struct.pack("<Q", (1 << 63) - 1) + b'{"__metadata__":{}}'


def safetensors_of_many_values() -> bytes:
    content = b'{"a":[' + b"0," * 30_000_000 + b"0]}"
    return struct.pack("<Q", len(content)) + content


def mp4_of_long_box() -> bytes:
    return carriers.video("mp4", "mpeg4")({})[:32] + struct.pack(">I4s", LARGEST, b"moov") + bytes(1000)


def matroska_of_long_element() -> bytes:
    return b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xfe" + bytes(1000)


def flac_of_long_comment() -> bytes:
    return b"fLaC\x84\xff\xff\xff" + struct.pack("<I", LARGEST) + bytes(1000)


def mp3_of_long_tag() -> bytes:
    return b"ID3\4\0\0\x7f\x7f\x7f\x7fTXXX\x7f\x7f\x7f\x7f\0\0" + bytes(1000)


def ogg_of_nothing() -> bytes:
    return b"OggS" + bytes([0, 2]) + b"\xff" * 1000


def svg_of_entities() -> bytes:
    """A billion laughs."""
    entities = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 12))
    return f"<!DOCTYPE svg [<!ENTITY a0 '{{}}'>{entities}]><svg><metadata>&a11;</metadata></svg>".encode()


def svg_of_an_entity_that_holds_a_graph() -> bytes:
    entity = json.dumps({"prompt": GRAPH}).replace("'", "")
    return f"<!DOCTYPE svg [<!ENTITY a '{entity}'>]><svg><metadata>&a;</metadata></svg>".encode()


def svg_of_a_foreign_entity() -> bytes:
    return b"<!DOCTYPE svg [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><svg><metadata>&a;</metadata></svg>"


def svg_of_much_metadata() -> bytes:
    return b"<svg><metadata>" + b" " * (65 << 20) + b"</metadata></svg>"


def svg_of_many_levels() -> bytes:
    return b"<svg><metadata>" + b"<a>" * 2_000_000


def json_of_many_values() -> bytes:
    return b'{"nodes":[' + b"0," * 1_000_000 + b"0]}"


def json_of_many_levels() -> bytes:
    return b'{"nodes":' + b"[" * 2_000_000


def json_within_json() -> bytes:
    """Each level is a text that holds the next one: read to a depth that files have."""
    document = json.dumps(GRAPH)
    for _ in range(12):
        document = json.dumps({"prompt": document})
    return document.encode()


def jpeg_of_deep_text() -> bytes:
    return carriers.encoded("JPEG", exif=carriers.exif_comment("[" * 10_000))


HOSTILE: tuple[Callable[[], bytes], ...] = (
    *(png_of_long_text, png_of_packed_text, png_of_packed_international_text, png_of_many_chunks, png_of_broken_exif),
    *(png_of_large_exif, webp_of_long_exif, glb_of_long_json, glb_of_deep_json, safetensors_of_long_header),
    *(safetensors_of_longer_header, safetensors_of_many_values, mp4_of_long_box, matroska_of_long_element),
    *(
        flac_of_long_comment,
        mp3_of_long_tag,
        ogg_of_nothing,
        svg_of_entities,
        svg_of_an_entity_that_holds_a_graph,
        svg_of_a_foreign_entity,
    ),
    *(svg_of_much_metadata, svg_of_many_levels, json_of_many_values, json_of_many_levels, json_within_json),
    *(jpeg_of_deep_text,),
)


async def read(folder: Path, data: bytes) -> Carried:
    (folder / "file").write_bytes(data)
    return await WorkflowFiles(Decoders(), LIMIT).read("mallory", folder / "file")


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
async def test_a_hostile_file_is_refused_in_words(tmp_path: Path, make: Callable[[], bytes]) -> None:
    with pytest.raises(InvalidGraph) as refused:
        await read(tmp_path, make())

    assert refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
async def test_a_file_that_is_cut_off_at_its_beginning_is_refused(tmp_path: Path, make: carriers.Maker) -> None:
    with pytest.raises(InvalidGraph):
        await read(tmp_path, make(TEXTS)[:40])


@pytest.mark.parametrize(
    "make",
    [
        *(carriers.png, carriers.jpeg, carriers.svg, carriers.glb, carriers.safetensors),
        *(carriers.sound("flac", "flac"), carriers.sound("mp3", "libmp3lame", "s16p")),
    ],
    ids=lambda make: make.__name__,
)
async def test_a_file_that_is_cut_off_behind_its_texts_carries_them(tmp_path: Path, make: carriers.Maker) -> None:
    assert (await read(tmp_path, make(TEXTS)[:-3])).graph == GRAPH


@pytest.mark.parametrize("make", [png_of_long_text, png_of_packed_text, png_of_broken_exif, png_of_many_chunks])
async def test_what_is_whole_before_a_fault_is_found(tmp_path: Path, make: Callable[[], bytes]) -> None:
    hostile = make()

    found = await read(tmp_path, HEAD + WHOLE + hostile[33:])

    assert found.graph == GRAPH


async def test_a_text_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    too_long = png_chunk(b"tEXt", b"comment\0" + b" " * (MOST_BYTES + 1))

    assert (await read(tmp_path, HEAD + too_long + WHOLE + PICTURE)).graph == GRAPH


async def test_texts_are_taken_up_to_a_bound_that_holds_for_all_of_them(tmp_path: Path) -> None:
    """The server reads them all."""
    half = b" " * (MOST_BYTES // 2) + b"x"
    before, behind = (png_chunk(b"tEXt", b"%s\0%s" % (name, half)) for name in (b"comment", b"metadata"))
    of_the_editor = png_chunk(b"tEXt", b"workflow\0" + TEXTS["workflow"].encode())

    found = await read(
        tmp_path, png(png_chunk(b"tEXt", b"prompt\0" + TEXTS["prompt"].encode()), before, behind, of_the_editor)
    )

    assert (found.graph, found.editor_graph) == (GRAPH, None)


def test_a_packed_text_is_unpacked_no_further_than_it_is_taken() -> None:
    packed = packed_gibibyte()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too many texts"):
            Texts().add_packed("prompt", packed)
        assert tracemalloc.get_traced_memory()[1] < 4 * MOST_BYTES
    finally:
        tracemalloc.stop()


async def test_a_picture_of_too_many_pixels_carries_its_workflow(tmp_path: Path) -> None:
    """Nobody decodes it."""
    header = struct.pack(">IIBBBBB", 2_000_000, 2_000_000, 8, 6, 0, 0, 0)

    found = await read(tmp_path, PNG[:8] + png_chunk(b"IHDR", header) + PNG[33:])

    assert found.graph == GRAPH


async def test_a_large_file_is_not_read_as_a_whole(tmp_path: Path) -> None:
    """A checkpoint of 20 GiB that ComfyUI saved."""
    with (tmp_path / "large").open("wb") as file:
        file.write(carriers.safetensors(TEXTS))
        file.truncate(20 << 30)

    found = await WorkflowFiles(Decoders(), LIMIT).read("me", tmp_path / "large")

    assert found.graph == GRAPH


async def test_formats_beside_those_that_carry_workflows_are_never_tried(tmp_path: Path) -> None:
    for name in ("a.eps", "a.pdf", "a.ico", "a.tga", "a.ppm", "a.jp2", "a.dds"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
        with pytest.raises(InvalidGraph) as refused:
            await WorkflowFiles(Decoders(), LIMIT).read("me", tmp_path / name)
        assert "carries no" not in refused.value.message, f"{name} was read"
