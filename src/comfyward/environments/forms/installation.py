"""An existing folder of ComfyUI: its version, and the sources of its packs. Nothing is executed, not even git."""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from packaging.version import Version

from comfyward.environments.forms.draft import NOT_NEEDED, Drafting, table_of, text_of
from comfyward.environments.source import COMFYUI, Folder, is_commit, is_official
from comfyward.environments.untrusted_texts import toml_table
from comfyward.errors import InvalidEnvironment, SetupFailed

PACKS = "custom_nodes"
OWN_FILES = frozenset({"websocket_image_save.py", "example_node.py.example"})  # a part of ComfyUI
TRACKED = ".tracking"  # ComfyUI-Manager's list of the files of a pack that it got from the registry
MAX_READ = 1 << 20


def is_installation(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / PACKS).is_dir()


def read(folder: Path, add_folder: Callable[[Path], Folder], drafting: Drafting) -> None:
    """Takes an installation over. Packs whose source is unknown are copied by `add_folder`."""
    _comfyui(folder, drafting)
    for path in sorted((folder / PACKS).iterdir(), key=lambda path: path.name.casefold()):
        if path.name.startswith((".", "__")) or path.name in OWN_FILES:
            continue
        if path.name.endswith(".disabled"):
            drafting.lose(path.name, "it is disabled")
        elif path.is_symlink():
            drafting.lose(path.name, "it is a link: add the folder that it leads to")
        elif path.is_dir():
            _pack(path, add_folder, drafting)
        elif path.suffix == ".py":
            drafting.lose(path.name, "it is a single file: put it into a folder as __init__.py, and add that")
    if (folder / "models").is_dir():
        drafting.lose("models/", "environments hold no models: COMFYWARD_MODEL_DIRS names folders of them")


def _comfyui(folder: Path, drafting: Drafting) -> None:
    origin, commit = _repository(folder)
    version = re.search(r'__version__ = "([\d.]+)"', _text(folder / "comfyui_version.py"))
    if commit and origin and not is_official(origin):
        drafting.comfyui(f"git+{origin}@{commit}")
    elif version is not None:
        drafting.comfyui(version[1])
    elif commit:
        drafting.comfyui(f"git+{origin or COMFYUI}@{commit}")
    if commit:
        drafting.lose("changes to ComfyUI's own files", "only its version is taken over")


def _pack(path: Path, add_folder: Callable[[Path], Folder], drafting: Drafting) -> None:
    if path.name.casefold() in NOT_NEEDED:
        return drafting.lose(path.name, "it manages installations, and is not needed")
    origin, commit = _repository(path)
    if origin and commit:
        drafting.pack(f"git+{origin}@{commit}")
        return drafting.lose(f"changes to files of {path.name}", f"its commit {commit[:12]} is taken over")
    if (path / TRACKED).is_file() and (source := _registered(path)) is not None:
        return drafting.pack(source)
    try:
        return drafting.take(add_folder(path))
    except (InvalidEnvironment, SetupFailed) as error:
        return drafting.lose(path.name, error.message)


def _registered(path: Path) -> str | None:
    """The id and version that a pack from the registry states, as a source."""
    try:
        project = table_of(toml_table(_text(path / "pyproject.toml")), "project")
        version = text_of(project, "version")
        return f"cnr:{text_of(project, 'name')}@{version}" if Version(version) else None
    except ValueError:
        return None


def _repository(folder: Path) -> tuple[str, str]:
    """(address, commit) of a clone, read from git's own files; "" for what they do not say."""
    git = folder / ".git"
    if git.is_symlink() or not git.is_dir():
        return "", ""
    head = _text(git / "HEAD").strip()
    commit = _resolved(git, head.removeprefix("ref: ")) if head.startswith("ref: ") else head
    return _origin(git), commit if is_commit(commit) else ""


def _resolved(git: Path, ref: str) -> str:
    if ".." in ref or not ref.startswith("refs/"):
        return ""
    loose = _text(git / ref).strip()
    return loose or next((commit for commit, name in _packed(git) if name == ref), "")


def _packed(git: Path) -> Iterator[tuple[str, str]]:
    for line in _text(git / "packed-refs").splitlines():
        commit, _, name = line.partition(" ")
        yield commit, name


def _origin(git: Path) -> str:
    """The address of `origin`, over https where it is one of GitHub's for ssh."""
    config = configparser.RawConfigParser(strict=False, allow_no_value=True)
    try:
        config.read_string(_text(git / "config").replace("\t", ""))
    except configparser.Error:
        return ""
    address = config.get('remote "origin"', "url", fallback="") or ""
    return re.sub(r"^(ssh://)?git@github\.com[:/]", "https://github.com/", address)


def _text(path: Path) -> str:
    """The beginning of a file that is no link; "" if there is none."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(MAX_READ).decode(errors="replace")
