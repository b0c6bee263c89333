"""`comfyward run` and `comfyward runs`, as people and scripts use them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests import command_line
from tests.stack.graphs import load_and_save, node, picture, slow
from tests.stack.stack import Client, Stack

Comfyward = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def client(real: Stack, request: pytest.FixtureRequest) -> Client:
    """An account of each test: none finds a run that another has left on its way."""
    return real.client(request.node.name)


@pytest.fixture
def comfyward(real: Stack, client: Client) -> Comfyward:
    connection = {"COMFYWARD_URL": real.url, "COMFYWARD_API_KEY": client.key}

    def run(*arguments: str, text: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return command_line.comfyward(*arguments, environment={**os.environ, **connection, **more}, text=text)

    return run


def test_from_a_graph_to_pictures_in_a_folder(comfyward: Comfyward, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "local.png")
    (tmp_path / "graph.json").write_text(json.dumps(load_and_save("a.png")))

    done = comfyward(
        *("run", str(tmp_path / "graph.json"), "--file", f"/input/a.png={tmp_path / 'local.png'}"),
        *("--set", "2.filename_prefix=sub/mine", "--accelerator", "CPU", "--out", str(tmp_path / "out")),
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out' / 'sub' / 'mine_00001_.png'}\n", "progress is no part of what is piped"
    with Image.open(tmp_path / "out" / "sub" / "mine_00001_.png") as made:
        assert made.getpixel((0, 0)) == (255, 0, 0)


def test_scripts_read_json_and_exit_codes(comfyward: Comfyward) -> None:
    fails = {"1": node("TestFails"), "2": node("SaveImage", images=["1", 0], filename_prefix="x")}

    done = comfyward("run", "-", "--json", text=json.dumps(picture()))
    failed = comfyward("run", "-", "--json", text=json.dumps(fails))
    told = comfyward("run", "-", text=json.dumps(fails))
    refused = comfyward("run", "-", text=json.dumps({"1": node("Nothing")}))
    elsewhere = comfyward("run", "-", "--environment", "nobodys", text=json.dumps(picture()))
    no_json = comfyward("run", "-", text="seed: 7")
    no_key = command_line.comfyward("run", "-", "--key", "", environment=os.environ, text="{}")

    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "COMPLETED")
    assert (failed.returncode, json.loads(failed.stdout)["end_reason"]) == (3, "node_error")
    assert (told.returncode, "this node always fails" in told.stderr, "Hint:" in told.stderr) == (3, True, True)
    assert (refused.returncode, "is not installed" in refused.stderr) == (1, True)
    assert (elsewhere.returncode, "There is no environment 'nobodys'" in elsewhere.stderr) == (1, True)
    assert (no_json.returncode, "not JSON" in no_json.stderr) == (2, True)
    assert no_key.returncode != 0


def test_runs_are_listed_shown_cancelled_retried_and_fetched(
    comfyward: Comfyward, client: Client, tmp_path: Path
) -> None:
    made = json.loads(comfyward("run", "-", "--json", text=json.dumps(picture(prefix="cli"))).stdout)
    running = comfyward("run", "-", "--no-follow", text=json.dumps(slow(2000))).stdout.strip()

    cancelled = comfyward("runs", "cancel", running)
    client.finish(running)
    listed = comfyward("runs", "list", "--status", "completed", "--limit", "1")
    as_json = json.loads(comfyward("runs", "list", "--json", "--limit", "2").stdout)
    in_cancelled = comfyward("runs", "list", "--status", "cancelled", COLUMNS="40", FORCE_COLOR="1")
    in_errors = comfyward("runs", "list", "--status", "error")
    in_workflow = comfyward("runs", "list", "--workflow", "Default")
    mistyped = comfyward("runs", "list", "--workflow", "Defualt")
    mistyped_status = comfyward("runs", "list", "--status", "eror")
    shown = comfyward("runs", "show", made["id"])
    again = comfyward("runs", "retry", made["id"]).stdout.strip()
    fetched = comfyward("runs", "download", made["id"], "--out", str(tmp_path))
    log = comfyward("runs", "logs", made["id"])
    missing = comfyward("runs", "show", "nothing")
    one_letter_off = comfyward("runs", "show", made["id"][:-1])

    assert running in cancelled.stdout
    assert made["id"] in listed.stdout
    assert as_json[0]["id"] == running
    assert [line.split()[:3] for line in in_cancelled.stdout.splitlines()[1:]] == [[running, "CANCELLED", "Default"]]
    assert running not in in_errors.stdout
    assert "1 file" in listed.stdout
    assert "1 files" not in listed.stdout
    assert {line.split()[0] for line in in_workflow.stdout.splitlines()[1:]} == {running, made["id"]}
    assert (mistyped.returncode, "Did you mean 'Default'?" in mistyped.stderr) == (2, True)
    assert "Did you mean 'ERROR'?" in mistyped_status.stderr
    assert f"Did you mean '{made['id']}'?" in one_letter_off.stderr
    assert "cli_00001_.png" in shown.stdout
    assert len(again) == 21
    assert fetched.stdout.strip() == str(tmp_path / "cli_00001_.png")
    assert (tmp_path / "cli_00001_.png").read_bytes()[:4] == b"\x89PNG"
    assert "got prompt" in log.stdout
    assert (missing.returncode, "There is no run 'nothing'" in missing.stderr) == (1, True)


def test_a_cancelled_run_has_an_exit_code_of_its_own(real: Stack, client: Client, comfyward: Comfyward) -> None:
    command = [sys.executable, "-m", "comfyward", "run", "-", "--json", "--url", real.url, "--key", client.key]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdin is not None
        following.stdin.write(json.dumps(slow(2000)))
        following.stdin.close()
        while not (waiting := client.http.get("/api/v1/runs", params={"status": "STARTED"}).json()):
            pass
        cancelled = comfyward("runs", "cancel", waiting[0]["id"])

        assert cancelled.returncode == 0, cancelled.stderr
        assert following.wait(60) == 4
