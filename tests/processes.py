"""One run of the tests in several processes, each with whole groups of them."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController


class Processes:
    """A plugin of the process that collects nothing and runs nothing: the others tell it their groups by a file."""

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(prefix="comfyward-groups-")
        os.close(handle)
        self._groups = Path(path)

    def pytest_configure_node(self, node: WorkerController) -> None:
        node.workerinput["groups"] = str(self._groups)

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> Schedule:
        return Schedule(config, log, self._groups)

    def pytest_unconfigure(self) -> None:
        self._groups.unlink()


class Schedule(LoadScopeScheduling):
    """Gives the next group, in the order of collection, to the first process that has nothing left to do."""

    def __init__(self, config: pytest.Config, log: Producer, groups: Path) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False
        self._file, self._groups = groups, dict[str, str]()

    def schedule(self) -> None:
        self._groups = json.loads(self._file.read_text())
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return self._groups[nodeid]
