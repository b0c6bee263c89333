"""Snapshots as ComfyUI-Manager writes them, in JSON or YAML; comfy-pack's have the same keys and a few more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from comfyward.environments.forms.draft import Drafting, Lost, is_true, listed, table_of, text_of
from comfyward.environments.source import Folder, Git, Package, PackSource, Registry, Release, is_official
from comfyward.environments.spec import Spec

KEYS = ("git_custom_nodes", "cnr_custom_nodes", "file_custom_nodes", "pips", "comfyui")


def is_snapshot(values: Mapping[str, Any]) -> bool:
    found = _parts(values)
    return "git_custom_nodes" in found or "cnr_custom_nodes" in found or isinstance(found.get("custom_nodes"), list)


def read(values: Mapping[str, Any], releases: Mapping[str, str], drafting: Drafting) -> None:
    """Takes a snapshot over. `releases` are ComfyUI's versions by commit."""
    found = _parts(values)
    drafting.comfyui_commit(found.get("comfyui"), releases)
    _take_packs(found, drafting)
    for each in listed(found.get("file_custom_nodes")):
        if not is_true(each.get("disabled")):
            drafting.lose(text_of(each, "filename") or "a file", "the snapshot names this file without its content")
    drafting.preferences(table_of(found, "pips"))
    for key in found:
        if key not in (*KEYS, "custom_nodes", "models", "python"):
            drafting.lose(key, "it is not known what it means")


def _take_packs(found: Mapping[str, Any], drafting: Drafting) -> None:
    for url, about in table_of(found, "git_custom_nodes").items():
        known = about if isinstance(about, Mapping) else {}
        drafting.pack(f"git+{url}@{text_of(known, 'hash') or 'HEAD'}", is_disabled=known.get("disabled"))
    nodes = found.get("custom_nodes")
    for each in listed(nodes) if isinstance(nodes, list) else ():
        commit = text_of(each, "commit_hash") or "HEAD"
        drafting.pack(f"git+{text_of(each, 'url')}@{commit}", is_disabled=each.get("disabled"))
    for id_, version in table_of(found, "cnr_custom_nodes").items():
        drafting.pack(f"cnr:{id_}@{version}")


def written(spec: Spec, commits: Mapping[str, str]) -> tuple[dict[str, Any], list[Lost]]:
    """(snapshot, what it cannot hold) of a spec. `commits` are those of ComfyUI's releases."""
    lost = [*_lost_beside_packs(spec)]
    comfyui = _commit_of(spec, commits)
    if comfyui is None:
        lost.append(Lost(f"comfyui {spec.comfyui}", "a snapshot holds a commit of the official repository"))
    git: dict[str, Any] = {}
    cnr: dict[str, str] = {}
    for pack in spec.packs:
        match pack:
            case Git() if pack.is_commit:
                git[pack.url] = {"hash": pack.ref, "disabled": False}
            case Registry():
                cnr[pack.id] = pack.version
            case _:
                lost.append(Lost(str(pack), _why_not(pack)))
    snapshot: dict[str, Any] = {
        "comfyui": comfyui,
        "git_custom_nodes": git,
        "cnr_custom_nodes": cnr,
        "file_custom_nodes": [],
    }
    return {**snapshot, "pips": dict.fromkeys(spec.prefer, "")}, lost


def _parts(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The snapshot's keys; in YAML, those of packs may stand one level deeper."""
    inner = values.get("custom_nodes")
    if not isinstance(inner, Mapping) or not any(key in inner for key in KEYS):
        return values
    return {key: value for key, value in values.items() if key != "custom_nodes"} | dict(inner)


def _commit_of(spec: Spec, commits: Mapping[str, str]) -> str | None:
    match spec.comfyui:
        case Release(version):
            return commits.get(version)
        case Git(url, ref) as source if source.is_commit and is_official(url):
            return ref
        case _:
            return None


def _lost_beside_packs(spec: Spec) -> Iterable[Lost]:
    if spec.cutoff:
        yield Lost(f"cutoff {spec.cutoff}", "a snapshot has no date for packages")
    for file in spec.files:
        yield Lost(f"file {file.path}", "a snapshot holds no files")
    for host in spec.egress:
        yield Lost(f"egress {host}", "a snapshot does not say which hosts ComfyUI may reach")
    for key, lines in (("more", spec.more), ("force", spec.force)):
        for line in lines:
            yield Lost(f"packages.{key} {line}", "a snapshot's packages are those of an installation")


def _why_not(pack: PackSource) -> str:
    match pack:
        case Folder():
            return "its files are on this machine only"
        case Package():
            return "a snapshot knows no packs of the package index"
        case _:
            return "a snapshot holds commits: lock the environment, and export its revision"
