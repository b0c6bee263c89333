"""A picture that Stable Diffusion WebUI made becomes a graph that ComfyUI runs, with its LoRA, sampler and size; what
could not be carried over is said on the terminal, by the API, and on the workflow's page."""

from __future__ import annotations

import json
import os
from pathlib import Path

from PIL import Image

from tests import carriers, command_line
from tests.stack.stack import Stack

SETTINGS = "Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5, Seed: 7, Size: 64x96, Eta: 0.1"
PARAMETERS = f"""a lighthouse, <lora:house-tiny-lora:0.5>
Negative prompt: blurry
{SETTINGS}, Model: house-tiny-sd15"""
LOST = "Not carried over: Eta (0.1)."


def test_it_runs_from_the_command_line_and_from_the_page(real: Stack, tmp_path: Path) -> None:
    client, picture = real.client("webui"), tmp_path / "old.png"
    picture.write_bytes(carriers.png({"parameters": PARAMETERS}))
    environment = {**os.environ, "COMFYWARD_URL": real.url, "COMFYWARD_API_KEY": client.key}

    done = command_line.comfyward("run", str(picture), "--out", str(tmp_path / "out"), environment=environment)
    read = client.http.post("/api/v1/workflows/read", content=picture.read_bytes()).json()
    visitor = real.visitor("webui")
    dropped = visitor.post("/workflows/import", files={"file": ("old.png", picture.read_bytes())})
    page = visitor.get(dropped.headers["location"]).text
    workflow = client.http.get(f"/api/v1{dropped.headers['location']}").json()

    assert done.returncode == 0, done.stderr
    with Image.open(done.stdout.strip()) as made:
        assert made.size == (64, 96)
        used = json.loads(made.text["prompt"])  # type: ignore[attr-defined]
    [sampler] = [node["inputs"] for node in used.values() if node["class_type"] == "KSampler"]
    assert (sampler["sampler_name"], sampler["scheduler"], sampler["seed"]) == ("dpmpp_2m", "karras", 7)
    assert [node["inputs"]["lora_name"] for node in used.values() if node["class_type"] == "LoraLoader"] == [
        "house-tiny-lora.safetensors"
    ]
    assert LOST in done.stderr
    assert (read["workflow"], LOST in read["remarks"]) == (None, True)
    assert workflow["prompt"] == read["prompt"]
    assert LOST in page
    assert "Cannot run yet" not in page
