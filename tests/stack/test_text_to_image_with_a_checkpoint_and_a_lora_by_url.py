"""CheckpointLoaderSimple, LoraLoader, CLIPTextEncode, KSampler, VAEDecode, SaveImage; the models come by URL."""

import threading
from pathlib import Path

import pytest

from tests.fakes.http import Origin
from tests.stack.following import followed
from tests.stack.graphs import text_to_image
from tests.stack.stack import Client

pytestmark = pytest.mark.engine

CHECKPOINT, LORA = "tiny-sd15.safetensors", "tiny-lora.safetensors"


def test_text_to_image_with_a_checkpoint_and_a_lora_by_url(client: Client, site: Origin, tiny_models_dir: Path) -> None:
    begins, checkpoint = threading.Event(), (tiny_models_dir / "one" / CHECKPOINT).read_bytes()
    files = {
        f"/models/checkpoints/{CHECKPOINT}": site.put("/c", checkpoint, hold=begins),
        f"/models/loras/{LORA}": site.put("/l", (tiny_models_dir / "one" / LORA).read_bytes()),
    }

    run_id = client.submit(text_to_image(), files=files)
    events = list(followed(client, run_id, begins))
    run = client.finish(run_id)

    assert run["status"] == "COMPLETED", run["error"]
    assert run["metadata"]["checkpoints"] == [CHECKPOINT]
    assert run["files"] == files
    [output] = run["output"]
    assert output["content_type"] == "image/png"

    kinds = {kind for kind, _, _ in events}
    assert {"status", "download", "progress", "preview", "output"} <= kinds
    assert any(kind == "download" and data["total"] and data["done"] == data["total"] for kind, data, _ in events)
    assert any(kind == "progress" and data["node"] == "sampler" and data["max"] == 4 for kind, data, _ in events)

    # The same again costs no download: models by URL are immutable, and cached.
    before = len(site.requests)
    again = client.run(text_to_image(seed=2), files=files)
    assert again["status"] == "COMPLETED"
    assert len(site.requests) == before
