"""The files of ComfyUI-Manager's map: fetched by a hashed pin, since its licence is not ours, or the operator's own."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import threading
from pathlib import Path

from comfyward.comfy import uv_command
from comfyward.comfy.uv_command import UvFailed
from comfyward.environments.finding.node_map import FILES, NodeMap
from comfyward.errors import SetupFailed

PINS = Path(__file__).parent / "manager.txt"
_INSIDE = "comfyui_manager"


class MapFiles:
    """The map, read when it is first asked for."""

    def __init__(self, environments: Path, own: Path | None = None) -> None:
        """`own` is a folder with newer files, which are used instead."""
        digest = hashlib.sha256(PINS.read_bytes()).hexdigest()[:8]
        self._fetched = environments.resolve() / f"node-map-{digest}"
        self._own = own
        self._reading = threading.Lock()
        self._map: NodeMap | None = None

    @property
    def folder(self) -> Path:
        return self._own or self._fetched

    def get(self) -> NodeMap | None:
        """The map; None if it was never fetched. Raises SetupFailed if it cannot be read."""
        with self._reading:
            if self._map is None and self.folder.is_dir():
                self._map = NodeMap(self.folder)
            return self._map

    def fetch(self) -> None:
        """Fetches the files if they are missing. Raises SetupFailed."""
        if self.folder.is_dir():
            return
        self._fetched.parent.mkdir(parents=True, exist_ok=True)
        with self._fetched.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._fetched.is_dir():
                self._fetch()

    def _fetch(self) -> None:
        package, fresh = self._fetched.with_suffix(".package"), self._fetched.with_suffix(".new")
        for folder in (package, fresh):
            shutil.rmtree(folder, ignore_errors=True)
        arguments = ["pip", "install", "--quiet", "--no-deps", "--require-hashes", "--link-mode", "copy"]
        try:
            uv_command.run(*arguments, "--target", str(package), "-r", str(PINS))
        except UvFailed as error:
            raise SetupFailed(f"The map of node classes cannot be fetched:\n{error}") from error
        fresh.mkdir()
        for name in FILES:
            (package / _INSIDE / name).rename(fresh / name)
        shutil.rmtree(package)
        fresh.rename(self._fetched)
