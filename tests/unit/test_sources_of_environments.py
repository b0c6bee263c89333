"""Sources of packs and of ComfyUI are fetched into trees: the same files always, or an error that says what changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import stat
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from comfyward.comfy.releases import RELEASES
from comfyward.comfy.releases import Release as InstalledByVersion
from comfyward.environments import git as git_fetch
from comfyward.environments.archive import pack, unpack
from comfyward.environments.lock import LockedPack
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.source import Folder, Git, Registry, Release
from comfyward.environments.sources import Sources
from comfyward.environments.trees import digest_of
from comfyward.environments.workshop import Workshop
from comfyward.errors import FetchFailed, FetchRefused, InvalidEnvironment, SetupFailed
from comfyward.files.guard import Guard
from tests.fakes.git import commit, git, git_server
from tests.fakes.http import Origin, faucet

FILES = {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n", "js/a.js": "1", "requirements.txt": "einops>=0.8\ntorch\n"}


def workshop(tmp_path: Path, site: Origin | None = None) -> Workshop:
    url = site.url if site else "http://127.0.0.1:9"
    return Workshop.below(tmp_path / "environments", ComfyRegistry(url, Guard.allowing(["127.0.0.1"])))


@pytest.fixture
def sources(tmp_path: Path, site: Origin) -> Sources:
    return workshop(tmp_path, site).sources


def zipped(files: dict[str, str], top: str = "") -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(top + name, text)
    return out.getvalue()


@pytest.mark.parametrize("is_plain", [False, True], ids=["git's own server", "plain files"])
@pytest.mark.parametrize("ref", ["commit", "main", "v1", "feature/x"])
def test_a_pack_in_git_is_locked_to_a_commit(sources: Sources, tmp_path: Path, is_plain: bool, ref: str) -> None:
    first = commit(tmp_path / "repos" / "rgthree-comfy", FILES)
    git(tmp_path / "repos" / "rgthree-comfy", "tag", "--annotate", "v1", "--message", "one")
    git(tmp_path / "repos" / "rgthree-comfy", "branch", "feature/x")
    git(tmp_path / "repos" / "rgthree-comfy", "update-server-info")
    path = "/rgthree-comfy"

    with git_server(tmp_path / "repos", is_plain=is_plain) as url:
        locked = sources.lock_pack(Git(f"{url}{path}", first if ref == "commit" else ref))
        assert locked.source == f"git+{url}{path}@{first}"

        later = commit(tmp_path / "repos" / "rgthree-comfy", {"__init__.py": "broken"})
        again = sources.restore(locked)
        newer = sources.lock_pack(Git(f"{url}{path}", "main"))

    assert later in newer.source
    assert newer.tree != locked.tree
    assert {each.name for each in again.iterdir()} == {"__init__.py", "js", "requirements.txt", "__pycache__"}
    assert (again / "__init__.py").read_text() == FILES["__init__.py"]
    assert [need.requirement for need in locked.needs] == ["einops>=0.8"]
    assert [each.line for each in locked.ignored] == ["torch"]


@pytest.mark.parametrize(
    ("ref", "message"),
    [("1" * 40, "has no commit '1111"), ("gone", "has no branch or tag 'gone' (any more)")],
)
def test_a_commit_or_branch_that_is_gone_is_named(sources: Sources, tmp_path: Path, ref: str, message: str) -> None:
    commit(tmp_path / "repos" / "x", FILES)
    with git_server(tmp_path / "repos") as url, pytest.raises(SetupFailed) as raised:
        sources.lock_pack(Git(f"{url}/x", ref))
    assert message in raised.value.message


def test_a_repository_that_is_not_there_is_named(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "repos").mkdir()
    with git_server(tmp_path / "repos") as url, pytest.raises(SetupFailed, match="cannot be fetched"):
        sources.lock_pack(Git(f"{url}/none", "main"))


def test_hooks_filters_and_links_of_a_repository_do_nothing(sources: Sources, tmp_path: Path) -> None:
    repository, marker = tmp_path / "repos" / "evil", tmp_path / "ran"
    commit(repository, {**FILES, ".gitattributes": "*.py filter=evil", ".gitmodules": "[submodule]"})
    (repository / ".git" / "hooks" / "post-checkout").write_text(f"#!/bin/sh\ntouch {marker}\n")
    (repository / ".git" / "hooks" / "post-checkout").chmod(0o755)
    (repository / "passwords").symlink_to("/etc/passwd")
    commit(repository, {"more.py": ""})

    with git_server(tmp_path / "repos") as url, pytest.raises(InvalidEnvironment, match="a link that leads out"):
        sources.lock_pack(Git(f"{url}/evil", "main"))
    assert not marker.exists()


def test_a_version_of_the_registry_is_unpacked(sources: Sources, site: Origin) -> None:
    archive = site.put("/cdn/kj.zip", zipped(FILES, "Comfyui-KJNodes-main/"))
    about = {"downloadUrl": archive, "status": "NodeVersionStatusActive", "version": "1.4.2"}
    site.put("/nodes/comfyui-kjnodes/versions/1.4.2", json.dumps(about).encode())

    locked = sources.lock_pack(Registry("comfyui-kjnodes", "1.4.2"))

    assert (locked.folder, locked.source) == ("comfyui-kjnodes", "cnr:comfyui-kjnodes@1.4.2")
    assert (sources.restore(locked) / "js" / "a.js").read_text() == "1"


def test_files_that_changed_at_their_source_are_refused(tmp_path: Path, site: Origin) -> None:
    about = {"downloadUrl": site.put("/kj.zip", zipped(FILES)), "status": "NodeVersionStatusActive"}
    site.put("/nodes/kj/versions/1", json.dumps(about).encode())
    locked = workshop(tmp_path / "a", site).sources.lock_pack(Registry("kj", "1"))
    site.put("/kj.zip", zipped({**FILES, "__init__.py": "import os"}))

    with pytest.raises(SetupFailed, match=r"the lock says .*: the files have changed at their source"):
        workshop(tmp_path / "b", site).sources.restore(locked)


def test_files_that_changed_here_are_fetched_again(tmp_path: Path, site: Origin) -> None:
    about = {"downloadUrl": site.put("/kj.zip", zipped(FILES)), "status": "NodeVersionStatusActive"}
    site.put("/nodes/kj/versions/1", json.dumps(about).encode())
    here = workshop(tmp_path, site)
    locked = here.sources.lock_pack(Registry("kj", "1"))
    (here.trees.path(locked.tree) / "__init__.py").write_text("import os")

    assert (here.sources.restore(locked) / "__init__.py").read_text() == FILES["__init__.py"]


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"status": "NodeVersionStatusFlagged", "status_reason": "it mines"}, "has flagged kj 1: it mines"),
        ({"status": "NodeVersionStatusBanned"}, "has banned kj 1"),
        ({"status": "NodeVersionStatusDeleted"}, "has deleted kj 1"),
        ({"status": "Odd"}, "has not released kj 1"),
        ({"status": "NodeVersionStatusActive"}, "names no archive of kj 1"),
        ([], "answer about kj 1 cannot be read"),
        (None, "has no kj 1"),
    ],
)
def test_a_version_that_may_not_be_used_is_named(sources: Sources, site: Origin, about: object, message: str) -> None:
    if about is not None:
        site.put("/nodes/kj/versions/1", json.dumps(about).encode())
    with pytest.raises(SetupFailed) as raised:
        sources.lock_pack(Registry("kj", "1"))
    assert message in raised.value.message


def test_a_registry_cannot_send_us_to_addresses_of_this_network(tmp_path: Path, site: Origin) -> None:
    about = {"downloadUrl": "http://10.1.2.3/kj.zip", "status": "NodeVersionStatusActive"}
    site.put("/nodes/kj/versions/1", json.dumps(about).encode())
    with pytest.raises((FetchRefused, FetchFailed), match=r"10\.1\.2\.3"):
        workshop(tmp_path, site).sources.lock_pack(Registry("kj", "1"))


def test_a_folder_and_an_archive_of_it_are_the_same(sources: Sources, tmp_path: Path) -> None:
    folder = tmp_path / "my-nodes"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"old")
    archive = tmp_path / "packed" / "my-nodes.zip"
    archive.parent.mkdir()
    archive.write_bytes(zipped(FILES, "my-nodes/"))

    added = sources.add_folder(folder)
    assert added == sources.add_folder(archive) == Folder("my-nodes", added.tree)

    (folder / "__init__.py").write_text("changed after it was added")
    locked = sources.lock_pack(added)
    assert (sources.restore(locked) / "__init__.py").read_text() == FILES["__init__.py"]
    assert not list(sources.restore(locked).rglob(".git"))
    with pytest.raises(SetupFailed, match="are not on this host"):
        sources.restore(LockedPack("x", f"folder:x@{'0' * 64}", "0" * 64))


def test_a_release_that_this_host_has_is_neither_fetched_nor_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pins" / "1.0").mkdir(parents=True)
    installed = tmp_path / "environments" / "comfyui-1.0" / "ComfyUI"
    installed.mkdir(parents=True)
    (installed / "main.py").write_text("")
    (tmp_path / "pins" / "1.0" / "files.txt").write_text(f"{hashlib.sha256(b'').hexdigest()}  main.py\n")
    (tmp_path / "pins" / "1.0" / "requirements.in").write_text("aiohttp\n")
    monkeypatch.setitem(RELEASES, "1.0", InstalledByVersion("1.0", "nowhere", folder=tmp_path / "pins"))
    sources = workshop(tmp_path).sources

    first = sources.lock_comfyui(Release("1.0"))

    trees = workshop(tmp_path).trees
    made_at = (trees.path(first.tree) / "main.py").stat().st_mtime_ns
    shutil.rmtree(installed)
    assert workshop(tmp_path).sources.lock_comfyui(Release("1.0")) == first
    assert (trees.path(first.tree) / "main.py").stat().st_mtime_ns == made_at
    assert sources.file(first, "requirements.txt") == b"aiohttp\n"
    (trees.path(first.tree) / "main.py").write_text("changed here")
    with pytest.raises(FileNotFoundError, match=r"source\.txt"):  # where it would be fetched from
        sources.lock_comfyui(Release("1.0"))


def test_trees_that_nothing_names_are_removed_once_they_are_old(tmp_path: Path) -> None:
    here = workshop(tmp_path)
    trees = []
    for name in ("named", "old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(name)
        os.utime(tmp_path / name, (1, 1))
        trees.append(here.sources.add_folder(tmp_path / name).tree)
    for tree in trees[:2]:
        os.utime(here.trees.path(tree), (1, 1))

    assert here.trees.remove_all_but(frozenset(trees[:1])) == 1
    assert [here.trees.has(tree) for tree in trees] == [True, False, True]


def test_an_install_script_is_recorded_and_not_run(sources: Sources, tmp_path: Path) -> None:
    folder, marker = tmp_path / "pack", tmp_path / "ran"
    folder.mkdir()
    for name in ("install.py", "__init__.py", "prestartup_script.py", "setup.py"):
        (folder / name).write_text(f"open({str(marker)!r}, 'w')\n")

    locked = sources.lock_pack(sources.add_folder(folder))

    assert locked.install_script is not None
    assert not marker.exists()


def test_digests_see_content_names_and_modes(tmp_path: Path) -> None:
    def digest(make: object) -> str:
        folder = tmp_path / os.urandom(4).hex()
        folder.mkdir()
        (folder / "a").write_text("1")
        make(folder)  # type: ignore[operator]
        return digest_of(folder)

    same = digest(lambda folder: None)
    assert digest(lambda folder: (folder / "empty").mkdir()) == same
    assert digest(lambda folder: os.utime(folder / "a", (1, 1))) == same
    different = [
        digest(lambda folder: (folder / "a").write_text("2")),
        digest(lambda folder: (folder / "a").rename(folder / "b")),
        digest(lambda folder: (folder / "a").chmod(0o755)),
        digest(lambda folder: (folder / "b").symlink_to("a")),
        digest(lambda folder: (folder / "b").write_text("")),
    ]
    assert len({same, *different}) == 6
    with pytest.raises(InvalidEnvironment, match="neither a file nor a folder"):
        digest(lambda folder: os.mkfifo(folder / "pipe"))


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name)
    found.external_attr = mode << 16
    return found


@pytest.mark.parametrize(
    "member",
    [
        *(entry("../evil"), entry("/etc/evil"), entry("a/../../evil"), entry("a//b"), entry("./a")),
        *(entry("link", stat.S_IFLNK | 0o777), entry("pipe", stat.S_IFIFO), entry("device", stat.S_IFCHR)),
    ],
    ids=lambda member: member.filename,
)
def test_a_hostile_archive_is_refused_whole(tmp_path: Path, member: zipfile.ZipInfo) -> None:
    path = tmp_path / "pack.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__init__.py", "")
        archive.writestr(member, "/etc/passwd")

    with pytest.raises(InvalidEnvironment, match="which is not a plain file below it"):
        unpack(path, tmp_path / "target")
    assert {each.name for each in tmp_path.iterdir()} == {"pack.zip"}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"<html>"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pack.zip").write_bytes(content)
    with pytest.raises(InvalidEnvironment, match=r"pack.zip is not a zip archive"):
        unpack(tmp_path / "pack.zip", tmp_path / "target")


@pytest.mark.parametrize("names", [("x/a", "x/a/b"), ("x/a/b", "x/a"), ("n" * 300,)])
def test_an_archive_whose_names_cannot_be_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "1")
    with pytest.raises(InvalidEnvironment, match=r"pack.zip (holds a file and a folder|cannot be unpacked)"):
        unpack(tmp_path / "pack.zip", tmp_path / "target")


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pack.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", random.Random(1).randbytes(10_000))
    data = bytearray(path.read_bytes())
    data[100:5000] = bytes(4900)
    path.write_bytes(data)

    with pytest.raises(InvalidEnvironment, match="is not a zip archive that can be read"):
        unpack(path, tmp_path / "target")


@pytest.mark.parametrize("target", ["../{folder}/a", "/etc/passwd", "../../x", "b/../../x"])
def test_a_link_that_leads_out_once_its_folder_is_moved_is_refused(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "pack"
    (folder / "b").mkdir(parents=True)
    (folder / "a").write_text("")
    (folder / "link").symlink_to(target.format(folder="pack"))

    with pytest.raises(InvalidEnvironment, match="a link that leads out"):
        digest_of(folder)


def test_requirements_by_a_link_that_leads_out_are_not_read(sources: Sources, tmp_path: Path) -> None:
    repository, secret = tmp_path / "repos" / "sly", tmp_path / "secret.txt"
    secret.write_text("the secret of the host\n")
    commit(repository, {"__init__.py": ""})
    (repository / "requirements.txt").symlink_to(secret)
    commit(repository, {"more.py": ""})

    with git_server(tmp_path / "repos") as url, pytest.raises(InvalidEnvironment, match="a link that leads out"):
        sources.lock_pack(Git(f"{url}/sly", "main"))


def test_a_git_that_takes_too_long_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_fetch, "TIMEOUT_S", 2.0)
    with faucet(b"", b"") as silent:
        with pytest.raises(SetupFailed, match="took longer than 2 s"):
            git_fetch.fetch(Git(f"{silent.url}/slow", "main"), tmp_path / "slow")
        deadline = time.monotonic() + 120
        while (left := _gits_of(silent.url)) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert left == []


def _gits_of(url: str) -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return [line for line in found if url.encode() in line and b"git" in line]


def sent(tmp_path: Path, files: dict[str, str]) -> tuple[str, Path]:
    """The digest of a tree on a server, and the archive that it sends of it."""
    server = workshop(tmp_path / "server")
    folder = tmp_path / "pack"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / next(iter(files))).chmod(0o700)
    tree = server.sources.add_folder(folder).tree
    pack(server.trees.path(tree), tmp_path / "sent.zip")
    return tree, tmp_path / "sent.zip"


@pytest.mark.parametrize("files", [FILES, {"only/nodes.py": "A = 1\n", "only/\u00fc.txt": ""}])
def test_a_tree_that_a_server_sends_arrives_as_it_is(tmp_path: Path, files: dict[str, str]) -> None:
    tree, archive = sent(tmp_path, files)
    worker = workshop(tmp_path / "worker")

    worker.sources.receive(archive, tree)

    assert worker.trees.has(tree)
    assert "__pycache__" not in str(zipfile.ZipFile(archive).namelist())


def test_another_tree_than_the_one_that_was_asked_for_is_refused(tmp_path: Path) -> None:
    tree, archive = sent(tmp_path, FILES)
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("tree/more.py", "")
    worker = workshop(tmp_path / "worker")

    with pytest.raises(SetupFailed, match=r"The server sent the files \w{12} in place of"):
        worker.sources.receive(archive, tree)
    assert not worker.trees.has(tree)


def test_a_tree_with_links_is_not_sent(tmp_path: Path) -> None:
    server = workshop(tmp_path / "server")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    (tmp_path / "pack" / "again.py").symlink_to("__init__.py")
    tree = server.sources.add_folder(tmp_path / "pack").tree

    with pytest.raises(InvalidEnvironment, match=r"holds a link, 'again.py'"):
        pack(server.trees.path(tree), tmp_path / "sent.zip")
