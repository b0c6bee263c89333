"""The ComfyUI of each environment that a worker can start: that of its own start, and those built on its host."""

from __future__ import annotations

from dataclasses import replace

from comfyward.comfy import install
from comfyward.comfy.process import ComfySpec
from comfyward.environments.builds import LOCK, Build, Builds
from comfyward.environments.lock import parse_lock
from comfyward.errors import EnvironmentFailed
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.worker.message_bounds import MAX_READY
from comfyward.worker.tried import Tried


class Engines:
    """`default` is the ComfyUI with which the worker was started; the others differ in source, Python and packs."""

    def __init__(self, default: ComfySpec, builds: Builds, tried: Tried) -> None:
        self.default, self._builds, self.tried = default, builds, tried

    def spec(self, environment: str) -> ComfySpec:
        """Raises EnvironmentFailed if the environment is not built here."""
        if environment == DEFAULT_ENVIRONMENT:
            return self.default
        return _spec_of(self.default, self.build(environment))

    def build(self, environment: str) -> Build:
        """Raises EnvironmentFailed if the environment is not built here."""
        build = self._builds.find(environment)
        if build is None:
            raise EnvironmentFailed(f"The environment {environment[:12]} is not built on this worker's host.")
        return build

    def is_built(self, environment: str) -> bool:
        """True if a whole build of it is on this host."""
        return self._builds.find(environment) is not None

    def ready(self) -> list[str]:
        """The environments that are built here and were tried with success, the last first."""
        return [digest for digest in self.tried.all() if self.is_built(digest)][:MAX_READY]


def _spec_of(default: ComfySpec, build: Build) -> ComfySpec:
    """An operator's own packs belong to the default environment alone; model folders, device and walls are the same."""
    installation = install.existing(build.comfyui, build.python)
    lock = parse_lock((build.path / LOCK).read_bytes())
    return replace(
        default,
        installation=installation,
        custom_nodes_dirs=(build.packs,),
        weights=build.files if build.files.is_dir() else None,
        egress=replace(default.egress, hosts=lock.egress),
    )
