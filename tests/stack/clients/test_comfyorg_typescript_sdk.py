"""A TypeScript program with @comfyorg/sdk: an asset, a job that uses it, its events, its output as a file."""

from pathlib import Path

from PIL import Image

from tests.stack.clients.conftest import RunProgram
from tests.stack.stack import Client, Stack


def test_it_runs_a_workflow(real: Stack, client: Client, run_node: RunProgram, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (7, 8, 9)).save(tmp_path / "in.png")

    found = run_node(
        "comfyorg_sdk.mjs",
        str(tmp_path / "in.png"),
        str(tmp_path / "out.png"),
        COMFY_BASE_URL=real.url,
        COMFY_API_KEY=client.key,
    )

    assert (found["status"], found["name"]) == ("succeeded", "typescript_00001_.png")
    assert {"statusChange", "outputReady"} <= set(found["seen"])
    assert found["seen"][-1] == "statusChange"
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.getpixel((0, 0)) == (7, 8, 9)
