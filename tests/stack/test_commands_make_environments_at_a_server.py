"""The commands of environments with --url do at a server what they do in its data directory, with the same words."""

from __future__ import annotations

import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from comfyward.environments.target import TARGET
from tests.attacks.environment_lab import Lab, staying
from tests.command_line import comfyward
from tests.stack.conftest import StartFake
from tests.stack.made_environments import comfyui_of
from tests.stack.stack import NO_REGISTRY, Stack
from tests.stack.waiting import until

NODES = "NODE_CLASS_MAPPINGS = {'%s': object}\n"


@pytest.fixture(scope="module")
def stack(start_fake_once: StartFake) -> Stack:
    return start_fake_once(fleet="none")


class Commands:
    """Commands on one of the two places."""

    def __init__(self, stack: Stack, place: str) -> None:
        if place == "server":
            self._options = ["--url", stack.url]
            self._environment = {"COMFYWARD_API_KEY": stack.client().key}
        else:
            self._options = ["--data-dir", str(stack.data_dir)]
            own = {name: value for name, value in os.environ.items() if not name.startswith("COMFYWARD_")}
            self._environment = {**own, "COMFYWARD_NODE_REGISTRY_URL": NO_REGISTRY}

    def run(self, *arguments: str) -> CompletedProcess[str]:
        return comfyward("environments", *arguments, *self._options, environment=self._environment)

    def said(self, *arguments: str) -> list[str]:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.mark.parametrize("place", ["server", "data directory"])
def test_an_environment_from_its_creation_to_its_end(stack: Stack, place: str, tmp_path: Path) -> None:
    at, name = Commands(stack, place), f"at-{place.split(' ')[0]}"
    comfyui = str(comfyui_of(stack))
    folder, archive = tmp_path / "mine", tmp_path / "yours.zip"
    folder.mkdir()
    (folder / "__init__.py").write_text(NODES % "Mine")
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("__init__.py", NODES % "Yours")

    created = at.said("create", name, "--comfyui", comfyui)
    assert created[0].startswith(f"Created {name} with ComfyUI folder:ComfyUI@")
    added = at.said("add", name, str(folder), str(archive))
    assert [line.partition("@")[0] for line in added] == ["Added folder:mine", "Added folder:yours"]
    locked = at.said("lock", name)
    assert locked[-1].startswith(f"Locked {name}@1 (")
    assert [line.split(" ")[:3] for line in locked if " pack " in line] == [
        ["+", "pack", "mine"],
        ["+", "pack", "yours"],
    ]
    assert at.said("lock", name) == [f"{name}@1 is up to date."]
    assert at.said("remove", name, "yours") == ["Removed yours"]
    assert at.said("try", name, "--no-wait") == [
        f"Workers will try {name}@2: 'comfyward environments show {name}' tells how far."
    ]
    (gone, *_) = at.said("diff", name)
    assert gone.startswith("- pack yours folder:yours@")
    assert at.said("diff", f"{name}@2", f"{name}@1")[0].startswith("+ pack yours folder:yours@")
    shown = json.loads("\n".join(at.said("show", name, "--json")))
    assert [(each["revision"], each["asked_at"] is not None) for each in shown["revisions"]] == [
        (f"{name}@2", True),
        (f"{name}@1", False),
    ]
    assert any(line.startswith(f"{name} ") for line in at.said("list"))
    spec = at.said("export", name)
    assert spec == [f'comfyui = "{comfyui}"', "", "[[pack]]", f'source = "{added[0].removeprefix("Added ")}"']
    assert json.loads("\n".join(at.said("export", f"{name}@1", "--lock")))["comfyui"]["source"] == comfyui
    (tmp_path / "spec.toml").write_text(f'comfyui = "{comfyui}"\n')
    assert at.said("import", name, str(tmp_path / "spec.toml"))[0] == f"{name} has ComfyUI {comfyui} and 0 packs now."
    assert at.said("update", name, "--yes") == [
        *(line for line in at.said("diff", f"{name}@2", f"{name}@3") if line[0] in "+-~"),
        f"Locked {name}@3: 'comfyward environments try {name}@3' has the workers try it.",
    ]
    assert at.said("add", name, str(folder)) == added[:1]  # which the next revision will have
    assert at.said("promote", name, "--without-trial") == [f"{name}@3 is current."]
    refused = at.run("promote", f"{name}@2")
    assert refused.returncode == 1
    assert f"{name}@2 is not ready" in refused.stderr
    assert at.said("promote", name)[-1] == (
        f"{name}@4 becomes current once its trial is good: 'comfyward environments show' tells how far."
    )
    locked = json.loads("\n".join(at.said("show", name, "--json")))["revisions"][0]
    assert (locked["number"], locked["asked_at"] is not None, locked["is_current"]) == (4, True, False)
    assert at.said("export", f"{name}@1", "--lock") != at.said("export", name, "--lock")
    assert at.said("export", f"{name}@4", "--lock") == at.said("export", name, "--lock")
    assert at.said("promote", f"{name}@1", "--without-trial") == [f"{name}@1 is current."]
    assert at.said("promote", f"{name}@3", "--without-trial") == [f"{name}@3 is current."]
    assert at.said("rollback", name) == [f"{name}@1 is current again."]
    assert at.said("delete", name, "--yes") == [f"Deleted {name}."]
    assert f"There is no environment '{name}'" in at.run("show", name).stderr


@pytest.mark.parametrize("place", ["server", "data directory"])
def test_a_trial_without_a_worker_ends_with_a_sentence(stack: Stack, place: str) -> None:
    at, name = Commands(stack, place), f"tried-at-{place.split(' ')[0]}"
    at.said("create", name, "--comfyui", str(comfyui_of(stack)))

    ended = at.run("try", name)

    assert ended.returncode == 1
    assert f"No present worker builds environments for {TARGET}, which {name}@1 is locked for." in ended.stderr
    assert "wait for one with --wait" in ended.stderr


def test_a_trial_names_the_pools_whose_workers_are_gone_and_waits_if_asked(stack: Stack) -> None:
    lab = Lab(stack)
    at, digest = Commands(stack, "server"), lab.revision("1")
    gone = lab.worker(pool="L40S")
    assert gone.goodbye().status_code == 204

    ended = at.run("try", f"{lab.name}@1")
    assert "No worker of pool L40S is there. No present worker builds" in ended.stderr

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(at.run, "try", f"{lab.name}@1", "--wait")
        until(lambda shown: shown["revisions"][0]["asked_at"] is not None, lab.shown)
        worker = lab.worker()
        with staying(worker):
            lab.has_ready(worker, digest, "Paint")
            done = waiting.result()
    assert (done.returncode, f"{lab.name}@1 is ready" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("place", ["server", "data directory"])
def test_an_admin_takes_a_workflow_of_another_out_of_trials(stack: Stack, place: str) -> None:
    at, lab, member = Commands(stack, place), Lab(stack), stack.client("member")
    lab.revision("1")
    body = {"name": "Mine", "environment": lab.name, "in_trials": True}
    workflow = member.http.post("/api/v1/workflows", json=body).json()["id"]
    assert f"Its trials repeat 'Mine' of member ({workflow})" in at.said("show", lab.name)

    assert at.said("unmark", lab.name, workflow) == [f"{workflow} is not part of the trials of {lab.name} any more."]

    assert member.http.get(f"/api/v1/workflows/{workflow}").json()["in_trials"] is False
    assert json.loads("\n".join(at.said("show", lab.name, "--json")))["in_trials"] == []
    assert "is part of the trials of" in at.run("unmark", lab.name, workflow).stderr


def test_what_a_server_cannot_lock_is_the_commands_error(stack: Stack) -> None:
    at = Commands(stack, "server")
    at.said("create", "broken", "--comfyui", str(comfyui_of(stack)))
    at.said("add", "broken", "git+http://127.0.0.1:9/nobody/here@main")

    failed = at.run("lock", "broken")

    assert failed.returncode == 1
    assert "The repository http://127.0.0.1:9/nobody/here cannot be fetched" in failed.stderr
    assert "Hint: Check the address" in failed.stderr


def test_an_update_is_made_only_by_a_yes(stack: Stack) -> None:
    at = Commands(stack, "server")
    at.said("create", "asked", "--comfyui", str(comfyui_of(stack)))

    declined = at.run("update", "asked")

    assert declined.returncode == 1
    assert any(line.startswith("+ comfyui ComfyUI") for line in declined.stdout.splitlines())
    assert json.loads("\n".join(at.said("show", "asked", "--json")))["revisions"] == []
    both = at.run("list", "--data-dir", str(stack.data_dir))
    assert (both.returncode, "name two places" in both.stderr) == (2, True)
