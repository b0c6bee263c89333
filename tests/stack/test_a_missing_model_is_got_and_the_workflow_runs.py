"""A workflow's file whose model nobody has: it is checked, the model comes from Hugging Face, and the workflow runs."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.command_line import comfyward
from tests.fakes.model_sites import Hub
from tests.stack.editor_files import text_to_image_file
from tests.stack.stack import Client, Stack

pytestmark = pytest.mark.engine

CHECKPOINT = "from-the-hub.safetensors"


@pytest.fixture
def owner(real: Stack) -> Client:
    return real.client("checker")


def test_a_missing_model_is_got_and_the_workflow_runs(
    real: Stack, hub: Hub, owner: Client, tiny_models_dir: Path, tmp_path: Path
) -> None:
    data = (tiny_models_dir / "one" / "tiny-sd15.safetensors").read_bytes()
    url, sha256 = hub.put("someone/tiny", CHECKPOINT, data), hashlib.sha256(data).hexdigest()
    hub.licences["someone/tiny"] = "apache-2.0"
    model = {"name": CHECKPOINT, "url": url, "directory": "checkpoints", "hash": sha256, "hash_type": "SHA256"}
    file = text_to_image_file(CHECKPOINT, models=[model])

    found = owner.http.post("/api/v1/workflows/check", json={"workflow": file}).json()

    assert (found["runs"], found["classes"], found["inputs"], found["problems"]) == (False, [], [], [])
    [missing] = found["models"]
    where = {"id": "12:4", "title": "The model", "class_type": "CheckpointLoaderSimple", "input": "ckpt_name"}
    assert missing == {
        "name": CHECKPOINT,
        "folder": "checkpoints",
        "path": f"/models/checkpoints/{CHECKPOINT}",
        "nodes": [where],
        "url": url,
        "told_by": "node",
        "sha256": sha256,
        "size": len(data),
        "licence": "apache-2.0",
        "gated": False,
        "page": f"{hub.url}/someone/tiny",
        "token": "HF_TOKEN",
        "problem": None,
        "hint": None,
        "import": None,
    }
    assert (found["bytes"], found["unknown_sizes"]) == (len(data), 0)
    assert [(each["name"], each["fit"]) for each in found["accelerators"]] == [("CPU", "together")]
    assert found["environments"][0] == {"name": "default", "has_all": True, "lacks": []}

    path = tmp_path / "workflow.json"
    path.write_text(json.dumps(file))
    key = {"COMFYWARD_URL": real.url, "COMFYWARD_API_KEY": owner.key}
    shown = comfyward("check", str(path), environment={**os.environ, **key})
    assert shown.returncode == 3, shown.stderr
    assert all(each in shown.stdout for each in (CHECKPOINT, url, "12:4 (The model)", "apache-2.0", "To fetch: ")), (
        shown.stdout
    )
    got = comfyward("check", str(path), "--get", "--json", environment={**os.environ, **key})
    assert got.returncode == 0, got.stdout + got.stderr
    [job] = json.loads(got.stdout)["jobs"]
    assert (job["kind"], job["what"], job["state"], job["done"]) == ("import", missing["path"], "done", len(data))

    again = comfyward("check", str(path), environment={**os.environ, **key})
    assert (again.returncode, again.stdout) == (0, "Nothing is missing: it runs in the environment default.\n")
    run = owner.run(file)
    assert run["status"] == "COMPLETED", run["error"]
