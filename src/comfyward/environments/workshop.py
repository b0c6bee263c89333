"""Everything that makes environments on this host, below one folder:

DIGEST/     a built environment
trees/      sources of ComfyUI and packs
staging/    what is being made
locks/      held by those who build or remove
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfyward.comfy.uv_command import Progress
from comfyward.environments.building import Builder
from comfyward.environments.builds import Builds
from comfyward.environments.fetching import Fetching, WeightsStore
from comfyward.environments.lock import Lock
from comfyward.environments.locking import Locker
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.sources import Sources
from comfyward.environments.spec import Spec, spec_toml
from comfyward.environments.staging import Staging
from comfyward.environments.trees import Trees
from comfyward.environments.updating import Update, Updater


@dataclass(frozen=True)
class Next:
    """The content of a next revision."""

    update: Update
    lock: Lock

    @property
    def spec_text(self) -> str:
        return spec_toml(self.update.spec)


@dataclass(frozen=True)
class Workshop:
    """The parts, built for each other."""

    trees: Trees
    builds: Builds
    sources: Sources
    locker: Locker
    builder: Builder
    updater: Updater

    def next_of(self, spec: Spec, former: Lock | None, update: str | None, progress: Progress) -> Next:
        """The content of the next revision: the spec and its lock, after an update of the spec unless that is None.

        `update` says to which ComfyUI, as in `Updater.update`. What `former` has from the same sources is not fetched
        again. Raises InvalidEnvironment, PackagesExclude, SetupFailed or FetchFailed.
        """
        found = Update(spec) if update is None else self.updater.update(spec, former, update, progress)
        return Next(found, self.locker.lock(found.spec, former, progress))

    @classmethod
    def below(cls, root: Path, registry: ComfyRegistry, fetching: Fetching | None = None) -> Workshop:
        """The workshop of a host, whose environments are below `root`; without `fetching`, its cache is there too."""
        staging, trees = Staging.below(root), Trees.below(root)
        builds = Builds(root, staging)
        sources, weights = Sources(trees, builds, staging, registry), WeightsStore(fetching or Fetching.below(root))
        locker, builder = Locker(sources, trees, weights), Builder(builds, sources, staging, weights)
        return cls(trees, builds, sources, locker, builder, Updater(registry))
