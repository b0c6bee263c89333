"""Versions that packages had elsewhere are used again where they can be; the others are chosen as ever, and named."""

from __future__ import annotations

from comfyward.environments.needs import Need
from comfyward.environments.resolution import Asked, not_preferred, resolve
from comfyward.environments.source import Release
from comfyward.environments.spec import Spec

PACKS = {"ComfyUI-Web": (Need("requests>=2.31", "requirements.txt, line 1"), Need("certifi>=2024", "requirements.txt"))}


def chosen(*prefer: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The versions of all packages, and the preferences that were not used."""
    asked = Asked("ComfyUI 0.30.0", ("packaging",), ("packaging==25.0",), PACKS, Spec(Release("0.30.0"), prefer=prefer))
    packages = resolve(asked)
    return {package.name: package.version for package in packages}, not_preferred(prefer, packages)


def test_preferred_versions_are_used_where_nothing_excludes_them() -> None:
    used = ("requests==2.32.3", "idna==3.6", "urllib3==2.2.1")
    excluded = ("certifi==2023.7.22", "charset-normalizer==99")  # by a pack; by the index
    core, elsewhere = ("packaging==24.0",), ("numpy==1.26.4",)  # ComfyUI's own; one that nobody asks for

    versions, unused = chosen(*excluded, *used, *core, *elsewhere)

    assert [f"{name}=={versions[name]}" for name in ("requests", "idna", "urllib3")] == list(used)
    assert unused == (*excluded, *core)
    assert versions.keys() == chosen()[0].keys()
