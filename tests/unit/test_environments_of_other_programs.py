"""Files of other programs become drafts with a report of what is lost; a spec survives the way out and in again."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import random
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from comfyward.environments.forms import cpack, installation, reading, snapshot
from comfyward.environments.forms.archives import MAX_FILE_BYTES, MAX_TAR_BYTES
from comfyward.environments.forms.draft import NOT_NEEDED, Draft, Drafting, Lost
from comfyward.environments.source import Folder, Git, Package, Registry, Release
from comfyward.environments.spec import Spec, key_of, spec_toml
from comfyward.errors import InvalidEnvironment

COMMIT, OTHER = "1" * 40, "2" * 40
NEWEST = "b" * 40
RELEASES = {NEWEST: "0.30.0"}
COMMITS = {"0.30.0": NEWEST}
DEFAULT = Release("0.3.75")
GITHUB = "https://github.com"

SNAPSHOT: dict[str, Any] = {
    "comfyui": NEWEST,
    "git_custom_nodes": {
        f"{GITHUB}/rgthree/rgthree-comfy": {"hash": COMMIT, "disabled": False},
        f"{GITHUB}/a/switched-off": {"hash": COMMIT, "disabled": True},
        f"{GITHUB}/ltdrdata/ComfyUI-Manager.git": {"hash": COMMIT, "disabled": False},
        "git@example.com:a/private.git": {"hash": COMMIT, "disabled": False},
    },
    "cnr_custom_nodes": {"comfyui-kjnodes": "1.10"},
    "file_custom_nodes": [{"filename": "one.py", "disabled": False}, {"filename": "off.py", "disabled": True}],
    "pips": {"numpy==2.3.5": ""},
}
PACKS = {f"git+{GITHUB}/rgthree/rgthree-comfy@{COMMIT}", "cnr:comfyui-kjnodes@1.10"}


def read(content: object) -> Draft:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return reading.read(data, RELEASES, DEFAULT)


def sources(draft: Draft) -> set[str]:
    return {str(pack) for pack in draft.spec.packs}


def lost(draft: Draft) -> dict[str, str]:
    return {each.what: each.why for each in draft.lost}


def zipped(files: dict[str, bytes | str], **attributes: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes.get("external_attr", 0)
            archive.writestr(info, content)
    return out.getvalue()


def tarred(files: dict[str, bytes], *others: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for other in others:
            archive.addfile(other)
    return out.getvalue()


@pytest.mark.parametrize("is_yaml", [False, True], ids=["JSON", "YAML"])
def test_a_snapshot_of_the_manager(is_yaml: bool) -> None:
    deeper = {"comfyui": NEWEST, "custom_nodes": {key: SNAPSHOT[key] for key in SNAPSHOT if key != "comfyui"}}
    draft = read(yaml.safe_dump(deeper).encode() if is_yaml else SNAPSHOT)

    assert draft.spec.comfyui == Release("0.30.0")
    assert sources(draft) == PACKS
    assert lost(draft).keys() == {
        f"git+{GITHUB}/a/switched-off@{COMMIT}",
        f"git+{GITHUB}/ltdrdata/ComfyUI-Manager.git@{COMMIT}",
        f"git+git@example.com:a/private.git@{COMMIT}",
        "one.py",
    }
    assert draft.spec.prefer == ("numpy==2.3.5",)


def test_versions_in_yaml_are_texts() -> None:
    draft = read(b"git_custom_nodes: {}\ncnr_custom_nodes:\n  kj: 1.10\n")

    assert sources(draft) == {"cnr:kj@1.10"}


@pytest.mark.parametrize(
    ("comfyui", "expected"), [(None, "0.3.75"), (OTHER, f"git+{GITHUB}/Comfy-Org/ComfyUI@{OTHER}")]
)
def test_comfyui_without_a_release(comfyui: str | None, expected: str) -> None:
    draft = read({**SNAPSHOT, "comfyui": comfyui})

    assert str(draft.spec.comfyui) == expected
    assert ("ComfyUI's version" in lost(draft)) == (comfyui is None)


def test_an_archive_of_comfy_pack() -> None:
    older = {
        "python": "3.9.1",
        "comfyui": NEWEST,
        "custom_nodes": [
            {"url": f"{GITHUB}/a/one", "commit_hash": COMMIT, "disabled": False},
            {"url": f"{GITHUB}/a/comfy-pack", "commit_hash": COMMIT, "disabled": False},
            {"url": f"{GITHUB}/a/off", "commit_hash": COMMIT, "disabled": True},
        ],
        "models": [{"filename": "models/a.safetensors", "size": 7, "sha256": "0" * 64}],
    }
    files = {
        "snapshot.json": json.dumps(older),
        "requirements.txt": "# made by uv\nnumpy==1.26\n",
        "workflow.json": "{}",
        "input/cat.png": b"1",
        "service.py": "import os",
    }
    draft = read(zipped(files))

    assert sources(draft) == {f"git+{GITHUB}/a/one@{COMMIT}"}
    assert lost(draft).keys() == {
        f"git+{GITHUB}/a/comfy-pack@{COMMIT}",
        f"git+{GITHUB}/a/off@{COMMIT}",
        "Python 3.9.1",
        "model models/a.safetensors",
        "workflow.json",
        "input/cat.png",
        "service.py",
    }
    assert lost(draft)["service.py"] == "it is never run"
    assert draft.spec.prefer == ("numpy==1.26",)


PYPROJECT = f"""
[project]
name = "portraits"
[dependency-groups]
kj = ["pillow>=10"]
overlays = ["xformers==0.0.33"]
[tool.uv]
constraint-dependencies = ["torch==2.9.1"]
[tool.comfygit]
comfyui_version = "v0.30.0"
python_version = "3.9"
[tool.comfygit.nodes.kj]
registry_id = "comfyui-kjnodes"
version = "1.10"
download_url = "https://cdn.example.com/kj.zip"
criticality = "optional"
[tool.comfygit.nodes.rgthree]
repository = "{GITHUB}/rgthree/rgthree-comfy"
pinned_commit = "{COMMIT}"
branch = "main"
[tool.comfygit.nodes.mine]
source = "development"
[tool.comfygit.models.abc]
filename = "a.safetensors"
"""


@pytest.mark.parametrize("tool", ["comfygit", "comfydock"])
@pytest.mark.parametrize("is_packed", [False, True], ids=["file", "archive"])
def test_an_environment_of_comfygit(tool: str, is_packed: bool) -> None:
    text = PYPROJECT.replace("tool.comfygit", f"tool.{tool}").encode()
    nested = {"env/pyproject.toml": text, "env/workflows/a.json": b"{}", "env/nodes/x/pyproject.toml": b"[project]"}
    draft = read(tarred(nested) if is_packed else text)

    assert draft.spec.comfyui == Release("0.30.0")
    assert sources(draft) == PACKS
    assert (draft.spec.more, draft.spec.prefer) == (("xformers==0.0.33",), ("torch==2.9.1",))
    assert lost(draft).keys() - {"env/workflows/a.json"} == {
        "kj is optional",
        "mine",
        "Python 3.9",
        "pillow>=10",
        "model a.safetensors",
    }
    assert ("env/workflows/a.json" in lost(draft)) == is_packed


def test_a_build_file_of_comfy_cli() -> None:
    build = {
        "schema": "comfy-build/1",
        "definition": {
            "baseComfyVersion": "v0.30.0",
            "baseImage": "ubuntu",
            "customNodes": [
                {"repository": f"{GITHUB}/rgthree/rgthree-comfy", "gitRef": COMMIT},
                {"id": "comfyui-kjnodes", "registryVersion": "1.10"},
                {"id": "nameless"},
            ],
            "pipDependencies": "einops>=0.8\n# a remark\ngit+https://example.com/x\n",
            "models": [{"type": "loras", "filename": "a.safetensors", "sizeBytes": 7}],
        },
    }
    draft = read(yaml.safe_dump(build).encode())

    assert draft.spec.comfyui == Release("0.30.0")
    assert sources(draft) == PACKS
    assert draft.spec.more == ("einops>=0.8",)
    assert lost(draft).keys() == {"nameless", "git+https://example.com/x", "model a.safetensors", "baseImage ubuntu"}


def test_a_lock_file_of_comfy_cli_names_models_only() -> None:
    draft = read(b"basics: {name: x}\nmodels:\n  - {name: a, url: https://example.com/a}\ncustom_nodes: {}\n")

    assert draft.spec == Spec(DEFAULT)
    assert lost(draft).keys() == {"model a", "ComfyUI's version"}


def test_our_own_spec_loses_nothing() -> None:
    spec = Spec(Release("0.30.0"), (Registry("kj", "1.10"),), "2026-11-20", ("einops",), ("numpy<2",))

    assert read(spec_toml(spec).encode()) == Draft(spec)


def installed(folder: Path) -> None:
    """An existing ComfyUI with packs of every kind."""
    files = {
        "main.py": "",
        "comfyui_version.py": '__version__ = "0.30.0"\n',
        "models/a.safetensors": "",
        "custom_nodes/cloned/.git/HEAD": "ref: refs/heads/main\n",
        "custom_nodes/cloned/.git/packed-refs": f"# pack-refs\n{COMMIT} refs/heads/main\n",
        "custom_nodes/cloned/.git/config": '[remote "origin"]\n\turl = git@github.com:a/cloned.git\n',
        "custom_nodes/detached/.git/HEAD": f"{OTHER}\n",
        "custom_nodes/detached/.git/config": f'[remote "origin"]\n\turl = {GITHUB}/a/detached\n',
        "custom_nodes/kj/pyproject.toml": '[project]\nname = "comfyui-kjnodes"\nversion = "1.10"\n',
        "custom_nodes/kj/.tracking": "__init__.py\n",
        "custom_nodes/fork/pyproject.toml": '[project]\nname = "comfyui-kjnodes"\nversion = "1.10"\n',
        "custom_nodes/mine/__init__.py": "",
        "custom_nodes/off.disabled/__init__.py": "",
        "custom_nodes/ComfyUI-Manager/__init__.py": "",
        "custom_nodes/single.py": "",
        "custom_nodes/websocket_image_save.py": "",
        "custom_nodes/__pycache__/x.pyc": "",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "custom_nodes" / "linked").symlink_to("/etc")
    (folder / "custom_nodes" / "stolen" / ".git").mkdir(parents=True)
    (folder / "custom_nodes" / "stolen" / ".git" / "HEAD").symlink_to("/etc/hostname")


def test_an_existing_folder(tmp_path: Path) -> None:
    installed(tmp_path)
    assert installation.is_installation(tmp_path)
    drafting, copied = Drafting(), []

    def add(folder: Path) -> Folder:
        if folder.name == "mine":
            raise InvalidEnvironment("mine holds a link that leads out.")
        copied.append(folder.name)
        return Folder(folder.name, "0" * 64)

    installation.read(tmp_path, add, drafting)
    draft = drafting.draft(DEFAULT)

    assert draft.spec.comfyui == Release("0.30.0")
    assert sources(draft) == {
        f"git+{GITHUB}/a/cloned.git@{COMMIT}",
        f"git+{GITHUB}/a/detached@{OTHER}",
        "cnr:comfyui-kjnodes@1.10",
        f"folder:fork@{'0' * 64}",
        f"folder:stolen@{'0' * 64}",
    }
    assert copied == ["fork", "stolen"]
    assert lost(draft).keys() == {
        "changes to files of cloned",
        "changes to files of detached",
        "ComfyUI-Manager",
        "linked",
        "mine",
        "off.disabled",
        "single.py",
        "models/",
    }


LINK = tarfile.TarInfo("pyproject.toml")
LINK.type, LINK.linkname = tarfile.SYMTYPE, "/etc/passwd"


@pytest.mark.parametrize(
    "content",
    [
        zipped({"snapshot.json": "{}", "../out": ""}),
        zipped({"snapshot.json": "{}", "/etc/passwd": ""}),
        zipped({"snapshot.json": "{}", "a\\..\\b": ""}),
        zipped({"snapshot.json": "/etc/passwd"}, external_attr=0o120777 << 16),
        zipped({"snapshot.json": "[]"}),
        zipped({"snapshot.json": "[" * 100_000}),
        zipped({"snapshot.json": b" " * (MAX_FILE_BYTES + 1)}),
        zipped({"other.json": "{}"}),
        b"PK\x03\x04 and nothing",
        tarred({"../pyproject.toml": PYPROJECT.encode()}),
        tarred({"/pyproject.toml": PYPROJECT.encode()}),
        tarred({}, LINK),
        tarred({"other.toml": b""}),
        gzip.compress(b"\0" * (MAX_TAR_BYTES + 1)),
        b"\x1f\x8b and nothing",
        b"\xff\xfe\x00",
        b"",
        b"[]",
        b"{}",
        b"hello",
        b"- a list",
        b"[" * 100_000,
        b"{a: " * 50_000,
        b"a: &a [1]\ngit_custom_nodes: *a\n",
        b"!!python/object/apply:os.system ['touch /tmp/owned']",
        b"[tool.other]\nx = 1\n",
        b'comfyui = "0.30.0"\nunknown = 1\n',
        b"? " + b"x" * (1 << 20) + b"\n: 1\n",
    ],
    ids=itertools.count(),  # the time is in some of them
)
def test_what_is_no_such_file_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidEnvironment):
        read(content)


def test_what_a_strangers_file_says_is_shown_on_one_line() -> None:
    draft = read({"git_custom_nodes": {}, "pips": {"\x1b[2Jx\n" + "y" * 5000: ""}})

    (first, *_) = [each.what for each in draft.lost]
    assert first.isprintable()
    assert len(first) < 200


def test_values_of_the_wrong_kind_are_no_error() -> None:
    rng, wrong = random.Random(7), [None, 7, "x", [], {}, [None], {"a": None}, True, ["x"], {"hash": 7}]
    keys = ("comfyui", "custom_nodes", "cnr_custom_nodes", "file_custom_nodes", "pips", "models", "python")
    for _ in range(300):
        read({"git_custom_nodes": {f"{GITHUB}/a/b": rng.choice(wrong)}} | {key: rng.choice(wrong) for key in keys})
        read(zipped({"snapshot.json": json.dumps({key: rng.choice(wrong) for key in keys})}))


@pytest.mark.parametrize("form", [snapshot, cpack])
def test_a_branch_goes_to_no_other_program(form: Any) -> None:
    branch = Git(f"{GITHUB}/rgthree/rgthree-comfy", "main")

    _, gone = form.written(Spec(Release("0.30.0"), (branch,)), COMMITS)

    assert what(gone) == {str(branch)}


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
versions = st.from_regex(r"[0-9][0-9a-z.]{0,8}", fullmatch=True)
commits = st.text("0123456789abcdef", min_size=40, max_size=40)
refs = commits | st.sampled_from(["main", "v1.0"])
git = st.builds(lambda name, ref: Git(f"https://git.example.com/someone/{name}", ref), names, refs)
folders = st.builds(Folder, names, st.text("0123456789abcdef", min_size=64, max_size=64))
packs = st.one_of(st.builds(Registry, names, versions), st.builds(Package, names, versions), folders, git)
official = st.builds(Git, st.just(f"{GITHUB}/Comfy-Org/ComfyUI"), commits)
requirements = st.lists(st.sampled_from(["matplotlib", "numpy>=2", "einops==0.8"]), unique=True).map(tuple)
specs = st.builds(
    Spec,
    comfyui=st.one_of(st.sampled_from([Release("0.30.0"), Release("0.29.0")]), official, git, folders),
    packs=st.lists(packs.filter(lambda pack: key_of(pack) not in NOT_NEEDED), unique_by=key_of, max_size=6).map(tuple),
    cutoff=st.none() | st.dates().map(str),
    more=requirements,
    force=requirements,
    prefer=st.lists(st.sampled_from(["einops==1", 'numpy==2.3; python_version < "3.13"']), unique=True).map(tuple),
)


def facts(spec: Spec) -> set[str]:
    """Everything that a spec says, apart from the order of its packs."""
    said = {f"comfyui {spec.comfyui}", *map(str, spec.packs)}
    said |= {f"packages.more {line}" for line in spec.more} | {f"packages.force {line}" for line in spec.force}
    said |= {f"packages.prefer {line}" for line in spec.prefer}
    return said | ({f"cutoff {spec.cutoff}"} if spec.cutoff else set())


def what(lost: list[Lost]) -> set[str]:
    return {each.what for each in lost}


@given(specs)
@pytest.mark.parametrize("form", ["manager", "cpack"])
def test_out_and_in_again_a_spec_loses_exactly_what_the_report_says(form: str, spec: Spec) -> None:
    content: object
    content, gone = (snapshot if form == "manager" else cpack).written(spec, COMMITS)  # type: ignore[attr-defined]

    draft = read(content)

    is_default = f"comfyui {spec.comfyui}" in what(gone)
    assert facts(draft.spec) - ({f"comfyui {DEFAULT}"} if is_default else set()) == facts(spec) - what(gone)
    assert what(gone) <= facts(spec)
    assert what(list(draft.lost)) == ({"ComfyUI's version"} if is_default else set())


@given(specs)
def test_our_own_spec_is_the_same_out_and_in_again(spec: Spec) -> None:
    assert read(spec_toml(spec).encode()) == Draft(spec)
