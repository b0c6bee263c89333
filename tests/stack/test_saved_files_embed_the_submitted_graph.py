"""Saved files of every format embed exactly the submitted graph, as strict JSON."""

import json
import struct
from typing import Any

import pytest

from tests import loopback
from tests.fakes.http import Origin
from tests.stack.graphs import node
from tests.stack.stack import Client
from tests.stack.test_reused_image_names_are_read_again import BLUE, png

pytestmark = pytest.mark.engine

WORKFLOW = {"nodes": [{"id": 1, "type": "LoadImage", "widgets_values": ["a.png"]}], "links": [], "version": 0.4}
GRAPH: dict[str, Any] = {
    "load": node("LoadImage", image="a.png") | {"_meta": {"title": "Bild für später"}},  # ComfyUI says IS_CHANGED here
    # ComfyUI casts numbers, and takes what a file of its own remembers of another day.
    "frames": node("RepeatImageBatch", image=["load", 0], amount=2.0) | {"is_changed": ["of another day"]},
    "png": node("SaveImage", images=["frames", 0], filename_prefix="still"),
    "webp": node(
        "SaveAnimatedWEBP",
        **{"images": ["frames", 0], "filename_prefix": "moving", "fps": 6, "lossless": True, "quality": 80},
        method="default",
    ),
    "apng": node("SaveAnimatedPNG", images=["frames", 0], filename_prefix="frames", fps=6.0, compress_level=4),
    "video": node("CreateVideo", images=["frames", 0], fps=4.0),
    "mp4": node("SaveVideo", video=["video", 0], filename_prefix="clip", format="mp4", codec="h264"),
    "webm": node("SaveWEBM", images=["frames", 0], filename_prefix="web", codec="vp9", fps=4.0, crf=32.0),
    "audio": node("EmptyAudio", duration=0.5, sample_rate=44100, channels=2),
    "flac": node("SaveAudio", audio=["audio", 0], filename_prefix="sound"),
    "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "save_latent": node("SaveLatent", samples=["latent", 0], filename_prefix="noise"),
    "pack": node("TestWritesThePrompt", images=["frames", 0]),
}


def test_saved_files_embed_the_submitted_graph(client: Client, site: Origin) -> None:
    files = {"/input/a.png": site.put("/graph.png", png(BLUE))}
    sent = json.dumps(GRAPH).encode()

    for _ in range(2):  # the second time, ComfyUI has results to keep
        run = client.run(GRAPH, files=files, extra_data={"extra_pnginfo": {"workflow": WORKFLOW}})
        assert run["status"] == "COMPLETED", run["error"]
        saved = {_name(each["filename"]): loopback.get(each["url"]).content for each in run["output"]}

        embedded = {
            name: sent in data and json.dumps(WORKFLOW).encode() in data
            for name, data in saved.items()
            if not name.endswith((".latent", ".json"))
        }
        assert embedded == dict.fromkeys(
            (
                *("still_00001.png", "still_00002.png", "moving_00001.webp", "frames_00001.png"),
                *("clip_00001.mp4", "web_00001.webm", "sound_00001.flac"),
            ),
            True,
        )
        latent = saved["noise_00001.latent"]
        header = json.loads(latent[8 : 8 + struct.unpack("<Q", latent[:8])[0]])["__metadata__"]
        assert header["prompt"].encode() == sent
        assert json.loads(saved["prompt.json"]) == {"prompt": GRAPH, "workflow": WORKFLOW}


def _name(filename: str) -> str:
    """As newer nodes write it: without a line behind the number."""
    return filename.rpartition("/")[2].replace("_.", ".")
