"""A name is not an identity: new content behind a LoRA's name, or an embedding's, is never served from a cache."""

import subprocess
from pathlib import Path

import pytest

from comfyward.comfy import install
from tests.fakes.http import Origin
from tests.stack.graphs import text_to_image
from tests.stack.stack import Client

pytestmark = pytest.mark.engine

CHECKPOINT, LORA = "tiny-sd15.safetensors", "tiny-lora.safetensors"

MAKE_EMBEDDING = """
import sys, torch
torch.manual_seed(int(sys.argv[2]))
torch.save({"string_to_param": {"*": torch.randn(2, 768)}}, sys.argv[1])
"""


@pytest.fixture
def checkpoint(site: Origin, tiny_models_dir: Path) -> dict[str, str]:
    data = (tiny_models_dir / "one" / CHECKPOINT).read_bytes()
    return {f"/models/checkpoints/{CHECKPOINT}": site.put("/checkpoint", data)}


def test_a_lora_replaced_under_the_same_name_changes_the_picture(
    client: Client, site: Origin, checkpoint: dict[str, str], tiny_models_dir: Path
) -> None:
    def picture_with(version: str) -> str:
        url = site.put(f"/{version}", (tiny_models_dir / version / LORA).read_bytes())
        run = client.run(text_to_image(seed=11), files={**checkpoint, f"/models/loras/{LORA}": url})
        assert run["status"] == "COMPLETED", run["error"]
        return str(run["output"][0]["digest"])

    one, two, one_again = picture_with("one"), picture_with("two"), picture_with("one")

    assert one != two
    assert one == one_again


def test_a_pt_embedding_that_only_the_text_names_changes_the_picture(
    client: Client, site: Origin, checkpoint: dict[str, str], tiny_models_dir: Path, environments: Path, tmp_path: Path
) -> None:
    comfyui = install.installed(environments)
    assert comfyui is not None
    lora = site.put("/lora", (tiny_models_dir / "one" / LORA).read_bytes())

    def picture_with(seed: str) -> str:
        path = tmp_path / f"{seed}.pt"
        subprocess.run([str(comfyui.python), "-c", MAKE_EMBEDDING, str(path), seed], check=True)
        files = {
            **checkpoint,
            f"/models/loras/{LORA}": lora,
            "/models/embeddings/custom_embedding.pt": site.put(f"/embedding-{seed}", path.read_bytes()),
        }
        run = client.run(text_to_image(text="a lighthouse, embedding:custom_embedding", seed=12), files=files)
        assert run["status"] == "COMPLETED", run["error"]
        return str(run["output"][0]["digest"])

    assert picture_with("1") != picture_with("2")
