"""From a cold model file to the first step after it: ComfyUI started by hand, and the run that is next in a queue.

    python -m bench.warm --mib 2048 --pairs 3 --json docs/figures/warm.json     # with the real ComfyUI

The model's file is on the disk and not in memory. `by hand`: ComfyUI gets a prompt that loads it. `next`: a run
executes for `--busy` seconds, and one that loads it waits; the time counts from the end of the first to the end of the
second. Loading is what a device needs: all tensors are copied, and two of them are multiplied. The two take turns.

Beside it, the time for which a run waits for a model that its host has in the cache: it is found, linked for the run,
and linked where ComfyUI looks for it. For a file of 1 MiB, and for the model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
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

from bench.downloads import origin
from bench.stack import started
from comfyward.comfy.client import ComfyClient
from comfyward.comfy.install import installed
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfyProcess, ComfySpec
from comfyward.comfy.releases import DEFAULT
from comfyward.comfy.run_folders import RunFolders, StagedFile
from comfyward.files import page_cache
from comfyward.files.cache import HostCache, WantedFile
from comfyward.files.fetch import Limits
from comfyward.files.guard import Guard
from comfyward.files.stop import Stop
from comfyward.runs.files import Url
from comfyward.sandbox import walls
from comfyward.server_settings import default_data_dir
from tests.stack.graphs import node
from tests.stack.stack import Client

TENSORS = 64
STAGINGS = 100
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
        block = os.urandom(rows * side * 2)
        for _ in range(TENSORS):
            opened.write(block)
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


def next_in_queue(client: Client, file: Path, turn: int, busy_s: float) -> float:
    first = client.submit({"1": node("BenchWait", seconds=busy_s, turn=turn)})
    client.wait_for(first, "status", state="running")
    page_cache.let_go(file)
    second = client.finish(client.submit(load(turn)))
    assert second["status"] == "COMPLETED", second
    ended = [datetime.fromisoformat(client.get(run_id)["completed_at"]) for run_id in (first, second["id"])]
    return (ended[1] - ended[0]).total_seconds()


def stagings_ms(folder: Path, model: Path) -> list[float]:
    """Milliseconds for which each of many runs waits for a cached file."""
    cache = HostCache(folder / "cache", 1 << 40, Guard.allowing(["127.0.0.1"]), Limits(1 << 40, 600, 8))
    folders = RunFolders(folder / "base", folder / "aside")
    for name in ("base/models/checkpoints", "base/input", "aside"):
        (folder / name).mkdir(parents=True)
    folders.take_baseline()
    took_ms = []
    with origin(model, 0) as url:
        wanted = WantedFile(f"/models/checkpoints/{MODEL}", Url(url), immutable=True)
        for number in range(STAGINGS + 1):
            began = time.perf_counter()
            pins = cache.pin_folder("bench", str(number))
            entry = cache.obtain(wanted, pins / "0", lambda done, total: None, Stop())
            folders.place([StagedFile(wanted.path, pins / "0", entry.digest)])
            took_ms.append((time.perf_counter() - began) * 1000)
            folders.clear()
            cache.unpin(pins)
    return took_ms[1:]  # the first one has fetched it


def staged(folder: Path, mib: int, model: Path) -> dict[str, dict[str, float]]:
    small = folder / "small"
    small.mkdir()
    make_model(small / MODEL, 1)
    found = {1: stagings_ms(folder / "staging-small", small / MODEL), mib: stagings_ms(folder / "staging", model)}
    return {
        f"{size} MiB": {
            "median": round(statistics.median(took_ms), 2),
            "p99": round(sorted(took_ms)[int(0.99 * len(took_ms))], 2),
        }
        for size, took_ms in found.items()
    }


async def measure(mib: int, pairs: int, busy_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="cw-bench-") as name:
        folder = Path(name)
        (folder / "models" / "checkpoints").mkdir(parents=True)
        (folder / "packs" / "bench").mkdir(parents=True)
        (folder / "packs" / "bench" / "__init__.py").write_text(PACK)
        file = folder / "models" / "checkpoints" / MODEL
        make_model(file, mib)
        by_hand = ByHand(folder / "home", folder / "models", folder / "packs")
        await by_hand.process.start()
        took_s: dict[str, list[float]] = {"by hand": [], "next": []}
        with started(custom_nodes_dir=str(folder / "packs"), model_dirs=str(folder / "models")) as stack:
            client = stack.wait_ready().client()
            await by_hand.seconds(file, 0)
            client.run(load(0))
            for turn in range(1, pairs + 1):
                took_s["by hand"].append(await by_hand.seconds(file, turn))
                took_s["next"].append(await asyncio.to_thread(next_in_queue, client, file, turn, busy_s))
        await by_hand.process.stop()
        await by_hand.parents.close()
        staged_ms = staged(folder, mib, file)
    ratios = [ours / theirs for ours, theirs in zip(took_s["next"], took_s["by hand"], strict=True)]
    return {
        "mib": mib,
        "busy_s": busy_s,
        "took_s": {row: [round(value, 3) for value in seconds] for row, seconds in took_s.items()},
        "median_s": {row: round(statistics.median(seconds), 3) for row, seconds in took_s.items()},
        "ratio": round(statistics.median(ratios), 2),
        "staged_ms": staged_ms,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=2048)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--busy", type=float, default=5.0, help="seconds of the run before")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures = asyncio.run(measure(args.mib, args.pairs, args.busy))
    print(json.dumps(figures, indent=1))
    print(f"load {os.getloadavg()[0]:.1f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
