"""From a cold model file to the first step after it: ComfyUI started by hand, and the run that is next in a queue.

    python -m bench.warm [MIB] [PAIRS]      # with the real ComfyUI; 512 MiB and 3 pairs

The model's file is on the disk and not in memory. `by hand`: ComfyUI gets a prompt that loads it. `next`: a run of 3 s
executes, and one that loads it waits; the time counts from the end of the first to the end of the second. Loading is
what a device needs: all tensors are copied, and multiplied once. The two take turns.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import struct
import sys
import tempfile
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import started
from comfyward.comfy.client import ComfyClient
from comfyward.comfy.install import installed
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfyProcess, ComfySpec
from comfyward.comfy.releases import DEFAULT
from comfyward.files import page_cache
from comfyward.sandbox import walls
from comfyward.server_settings import default_data_dir
from tests.stack.graphs import node
from tests.stack.stack import Client

TENSORS = 64
MODEL = "bench.safetensors"
PACK = """
import time
import torch
import folder_paths
import comfy.utils

class BenchLoad:
    CATEGORY, RETURN_TYPES, FUNCTION, OUTPUT_NODE = "bench", (), "run", True
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": (folder_paths.get_filename_list("checkpoints"),), "turn": ("INT", {"max": 10**9})}}
    def run(self, name, turn):
        loaded = comfy.utils.load_torch_file(folder_paths.get_full_path("checkpoints", name))
        on_device = [tensor.clone() for tensor in loaded.values()]
        step = on_device[0][:64, :64].float() @ on_device[-1][:64, :64].float()
        return {"ui": {"text": [str(step.shape)]}}

class BenchWait:
    CATEGORY, RETURN_TYPES, FUNCTION, OUTPUT_NODE = "bench", (), "run", True
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seconds": ("FLOAT", {}), "turn": ("INT", {"max": 10**9})}}
    def run(self, seconds, turn):
        time.sleep(seconds)
        return {"ui": {"text": ["waited"]}}

NODE_CLASS_MAPPINGS = {"BenchLoad": BenchLoad, "BenchWait": BenchWait}
"""


def make_model(file: Path, mib: int) -> None:
    """A safetensors file of random half-precision tensors."""
    side, each = 1024, (mib << 20) // TENSORS
    rows, header, at = each // (2 * side), {}, 0
    for number in range(TENSORS):
        header[f"t{number}"] = {"dtype": "F16", "shape": [rows, side], "data_offsets": [at, at + rows * side * 2]}
        at += rows * side * 2
    text = msgspec.json.encode(header)
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", len(text)) + text)
        for _ in range(TENSORS):
            opened.write(os.urandom(rows * side * 2))
        opened.flush()
        os.fsync(opened.fileno())


def load(turn: int) -> dict[str, Any]:
    return {"1": node("BenchLoad", name=MODEL, turn=turn)}


class ByHand:
    """A ComfyUI that runs, without a server."""

    def __init__(self, home: Path, models: Path, packs: Path) -> None:
        found = installed(default_data_dir() / "environments", DEFAULT)
        assert found is not None, "install ComfyUI first: comfyward comfyui install"
        spec = ComfySpec(found, home / "comfyui", walls.choose("auto"), False, ("--cpu",), (), (packs,), (models,))
        spec.base_dir.mkdir(parents=True)
        self.parents = ComfyParents(home)
        self.process = ComfyProcess(spec, self.parents)

    async def seconds(self, file: Path, turn: int) -> float:
        page_cache.let_go(file)
        prompt = msgspec.Raw(msgspec.json.encode(load(turn)))
        began, prompt_id = time.monotonic(), str(uuid.uuid4())
        async with ComfyClient(self.process.socket, "bench") as client:
            await client.submit(prompt_id, prompt, msgspec.Raw(b"null"), {})
            while (history := await client.history(prompt_id)) is None:
                await asyncio.sleep(0.005)
        assert history.succeeded, history
        return time.monotonic() - began


def next_in_queue(client: Client, file: Path, turn: int) -> float:
    first = client.submit({"1": node("BenchWait", seconds=3.0, turn=turn)})
    client.wait_for(first, "status", state="running")
    page_cache.let_go(file)
    second = client.finish(client.submit(load(turn)))
    assert second["status"] == "COMPLETED", second
    ended = [datetime.fromisoformat(client.get(run_id)["completed_at"]) for run_id in (first, second["id"])]
    return (ended[1] - ended[0]).total_seconds()


async def measure(mib: int, pairs: int) -> None:
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as name:
        folder = Path(name)
        (folder / "models" / "checkpoints").mkdir(parents=True)
        (folder / "packs" / "bench").mkdir(parents=True)
        (folder / "packs" / "bench" / "__init__.py").write_text(PACK)
        file = folder / "models" / "checkpoints" / MODEL
        make_model(file, mib)
        by_hand = ByHand(folder / "home", folder / "models", folder / "packs")
        await by_hand.process.start()
        figures: dict[str, list[float]] = {"by hand": [], "next": []}
        with started(custom_nodes_dir=str(folder / "packs"), model_dirs=str(folder / "models")) as stack:
            client = stack.wait_ready().client()
            await by_hand.seconds(file, 0)
            client.run(load(0))
            for turn in range(1, pairs + 1):
                figures["by hand"].append(await by_hand.seconds(file, turn))
                figures["next"].append(await asyncio.to_thread(next_in_queue, client, file, turn))
        await by_hand.process.stop()
        await by_hand.parents.close()
    for row, seconds in figures.items():
        print(f"{row:8} median {statistics.median(seconds):6.3f} s   {min(seconds):.3f} to {max(seconds):.3f}")
    ratios = [ours / theirs for ours, theirs in zip(figures["next"], figures["by hand"], strict=True)]
    print(f"ratio    median {statistics.median(ratios):6.2f}     {mib} MiB, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    asyncio.run(measure(*(int(text) for text in [*sys.argv[1:], *("512", "3")[len(sys.argv) - 1 :]])))
