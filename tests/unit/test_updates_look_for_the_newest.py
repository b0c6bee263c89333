"""An update moves packs to their newest versions, and offers newer releases of ComfyUI than the present one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfyward.environments import updating
from comfyward.environments.lock import Lock, LockedComfyUI
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.source import COMFYUI, Git, Registry, Release
from comfyward.environments.spec import Spec
from comfyward.environments.updating import NEWEST, Offered, Updater
from comfyward.errors import InvalidEnvironment
from comfyward.files.guard import Guard
from tests.fakes.git import commit, git, git_server
from tests.fakes.http import Origin

NOBODY = "http://127.0.0.1:9/nobody/here"
COMMIT = "1" * 40


def quiet(step: str, fraction: float | None) -> None:
    return


def updater(site: Origin, repository: str = NOBODY) -> Updater:
    return Updater(ComfyRegistry(site.url, Guard.allowing(["127.0.0.1"])), repository)


def test_packs_of_the_registry_and_of_git_move_to_the_newest(site: Origin, tmp_path: Path) -> None:
    latest = {"latest_version": {"version": "1.5.0", "status": "NodeVersionStatusActive"}}
    site.put("/nodes/kjnodes", json.dumps(latest).encode())
    first = commit(tmp_path / "repos" / "rgthree", {"a.py": "1"})
    last = commit(tmp_path / "repos" / "rgthree", {"a.py": "2"})
    with git_server(tmp_path / "repos") as url:
        pinned, branch = Git(f"{url}/rgthree", first), Git(f"{url}/other", "main")
        spec = Spec(Release("0.30.0"), (Registry("kjnodes", "1.4.2"), pinned, branch), cutoff="2026-01-01")

        found = updater(site).update(spec, None, "", quiet)

    assert found.spec.packs == (Registry("kjnodes", "1.5.0"), Git(f"{url}/rgthree", last), branch)
    assert found.spec.comfyui == spec.comfyui
    assert found.spec.cutoff is not None
    assert found.spec.cutoff > "2026-01-01"


@pytest.mark.parametrize(
    "latest",
    [
        None,
        {"version": "1.5.0", "status": "NodeVersionStatusBanned"},
        {"version": "../../x"},
        {"version": 5},
        [],
    ],
)
def test_what_cannot_be_asked_stays_and_is_said(site: Origin, latest: object) -> None:
    if latest is not None:
        site.put("/nodes/kjnodes", json.dumps({"latest_version": latest}).encode())
    packs = (Registry("kjnodes", "1.4.2"), Git(NOBODY, COMMIT))

    found = updater(site).update(Spec(Release("0.30.0"), packs), None, "", quiet)

    assert found.spec == Spec(Release("0.30.0"), packs)
    assert [note.partition(" stays, since")[0] for note in found.notes[:2]] == [str(pack) for pack in packs]
    assert "Only releases that are known here are offered" in found.notes[2]


def test_newer_releases_are_offered_and_taken_only_if_asked_for(site: Origin, tmp_path: Path) -> None:
    repository = tmp_path / "repos" / "ComfyUI"
    commit(repository, {"main.py": "1"})
    for tag in ("v0.3.70", "v0.30.0", "v0.99.0", "v0.99.1-rc1", "latest"):
        git(repository, "tag", "--annotate", tag, "--message", "a release")
    upstream = git(repository, "rev-parse", "HEAD")
    with git_server(tmp_path / "repos") as url:
        asked = updater(site, f"{url}/ComfyUI")
        spec = Spec(Release("0.3.75"))
        newest, known = Offered("0.99.0", f"git+{COMFYUI}@{upstream}"), Offered("0.30.0", "0.30.0")

        stays = asked.update(spec, None, "", quiet)
        assert (stays.spec, stays.offers) == (spec, (newest, known))
        moved = asked.update(spec, None, NEWEST, quiet)
        assert (moved.spec.comfyui, moved.offers) == (Release("0.30.0"), (newest,))
        chosen = asked.update(spec, None, "v0.99.0", quiet)
        assert (chosen.spec.comfyui, chosen.offers) == (Git(COMFYUI, upstream), (known,))
        with pytest.raises(InvalidEnvironment, match=r"no release 0\.99\.9") as refused:
            asked.update(spec, None, "0.99.9", quiet)
        assert refused.value.hint == "Newer are: 0.99.0, 0.30.0."

        of_commit = Spec(Git(COMFYUI, COMMIT))
        lock = Lock("linux/py3.11", LockedComfyUI("0.30.0", str(of_commit.comfyui), "tree"), (), ())
        assert asked.update(of_commit, lock, "", quiet).offers == (newest,)
        fork = Spec(Git("https://example.com/me/ComfyUI", COMMIT))
        assert asked.update(fork, lock, "", quiet).offers == ()


def test_without_upstream_known_releases_are_offered(site: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "RELEASES", {"0.3.75": object(), "0.30.0": object()})

    found = updater(site).update(Spec(Release("0.3.75")), None, NEWEST, quiet)

    assert (found.spec.comfyui, found.offers) == (Release("0.30.0"), ())
