"""Everything that makes environments on this host, below one folder:

DIGEST/     a built environment
trees/      sources of ComfyUI and packs
staging/    what is being made
locks/      held by those who build or remove
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfyward.environments.building import Builder
from comfyward.environments.builds import Builds
from comfyward.environments.locking import Locker
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.sources import Sources
from comfyward.environments.staging import Staging
from comfyward.environments.trees import Trees


@dataclass(frozen=True)
class Workshop:
    """The parts, built for each other."""

    trees: Trees
    builds: Builds
    sources: Sources
    locker: Locker
    builder: Builder

    @classmethod
    def below(cls, root: Path, registry: ComfyRegistry) -> Workshop:
        """The workshop of a host, whose environments are below `root`."""
        staging, trees = Staging.below(root), Trees.below(root)
        builds = Builds(root, staging)
        sources = Sources(trees, staging, registry)
        return cls(trees, builds, sources, Locker(sources, trees), Builder(builds, sources, staging))
