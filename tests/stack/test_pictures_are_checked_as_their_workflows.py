"""`comfyward check` takes what `comfyward run` takes: a picture that carries a workflow is checked as that."""

from __future__ import annotations

import json
import os
from pathlib import Path
from subprocess import CompletedProcess

from tests import carriers, command_line
from tests.stack.stack import Client


def check(client: Client, picture: Path, *classes: str) -> CompletedProcess[str]:
    nodes = [{"id": number, "type": each, "widgets_values": ["a"]} for number, each in enumerate(classes, 1)]
    picture.write_bytes(carriers.png({"workflow": json.dumps({"nodes": nodes, "links": []})}))
    environment = {**os.environ, "COMFYWARD_URL": str(client.http.base_url), "COMFYWARD_API_KEY": client.key}
    return command_line.comfyward("check", str(picture), environment=environment)


def test_a_picture_that_runs(tenant: Client, tmp_path: Path) -> None:
    done = check(tenant, tmp_path / "a.png", "FakeSave")

    assert (done.returncode, "Nothing is missing" in done.stdout) == (0, True), done.stderr


def test_a_picture_that_lacks_a_node(tenant: Client, tmp_path: Path) -> None:
    done = check(tenant, tmp_path / "a.png", "FakeSave", "NobodyHasThis")

    assert (done.returncode, "NobodyHasThis" in done.stdout) == (3, True), done.stderr


def test_a_document_with_both_forms_is_checked(tenant: Client) -> None:
    graph = {"1": {"class_type": "FakeSave", "inputs": {"text": "a"}}}
    document = {"prompt": graph, "workflow": {"nodes": [{"id": 1, "type": "FakeSave"}], "links": []}}

    found = tenant.http.post("/api/v1/workflows/check", json={"workflow": document})

    assert found.status_code == 200, found.text
    assert found.json()["runs"] is True
