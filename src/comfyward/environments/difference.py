"""The changes between two locks: of ComfyUI, packs and packages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from comfyward.environments.lock import Lock
from comfyward.wording import size


@dataclass(frozen=True)
class Change:
    """Something that is added (`before` is None), removed (`after` is None), or changed."""

    kind: str  # comfyui, pack, web, package, file, egress or script
    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        match self.before, self.after:
            case None, after:
                return f"+ {self.kind} {self.name} {after}"
            case before, None:
                return f"- {self.kind} {self.name} {before}"
            case before, after:
                return f"~ {self.kind} {self.name} {before} -> {after}"


def changes_between(before: Lock | None, after: Lock) -> list[Change]:
    """The changes in the order of their kinds, then of names. Without a lock before, everything is added."""
    return [
        change
        for kind, values_of in _KINDS
        for change in _changes(kind, {} if before is None else values_of(before), values_of(after))
    ]


def script_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """The changes of scripts for the editor, by their paths."""
    return list(_changes("script", before, after))


def _changes(kind: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys(), key=str.casefold):
        if before.get(name) != after.get(name):
            yield Change(kind, name, before.get(name), after.get(name))


def _comfyui(lock: Lock) -> dict[str, str]:
    return {"ComfyUI": _with_tree(lock.comfyui.version, lock.comfyui.tree)}


def _packs(lock: Lock) -> dict[str, str]:
    return {pack.folder: _with_tree(pack.source, pack.tree) for pack in lock.packs}


def _web(lock: Lock) -> dict[str, str]:
    """The packs whose scripts may run in the editor."""
    return {pack.folder: "allowed" for pack in lock.packs if pack.web}


def _packages(lock: Lock) -> dict[str, str]:
    return {package.name: package.version for package in lock.packages}


def _files(lock: Lock) -> dict[str, str]:
    return {file.path: f"{file.url} (sha256 {file.sha256[:12]}, {size(file.size)})" for file in lock.files}


def _egress(lock: Lock) -> dict[str, str]:
    """The hosts that ComfyUI may reach."""
    return dict.fromkeys(lock.egress, "allowed")


_KINDS: tuple[tuple[str, Callable[[Lock], dict[str, str]]], ...] = (
    *(("comfyui", _comfyui), ("pack", _packs), ("web", _web), ("package", _packages)),
    *(("file", _files), ("egress", _egress)),
)


def _with_tree(text: str, tree: str) -> str:
    """A source, with the start of its files' digest: one version can have two contents."""
    return text if tree in text else f"{text} ({tree[:12]})"
