"""A worker that is not root's reads the results of a node that forbade everybody to read them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyward.sandbox import removal
from tests.attacks.attacked import NOBODY, PACKAGES, SYSTEM_PYTHON
from tests.conftest import ROOT

TAKE = """
import json, os, sys
from pathlib import Path
from comfyward.worker.result_files import Bounds, found_in, read, take
folder = Path(sys.argv[1])
(folder / "output").mkdir()
(folder / "output" / "closed.txt").write_text("a result")
(folder / "output" / "closed.txt").chmod(0)
[found] = found_in(folder / "output", Bounds(1 << 20)).files
taken = folder / "taken"
print(json.dumps([take(found, folder / "output", taken), read(taken, found.size).decode()]))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    if not SYSTEM_PYTHON.exists():
        pytest.skip("there is no Python that every user can run")
    made = Path(tempfile.mkdtemp(prefix="cw-attacks-"))
    made.chmod(0o777)
    yield made
    removal.remove_tree(made)


def test_a_result_without_permissions_is_read(folder: Path) -> None:
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", TAKE, str(folder)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join([str(ROOT.parent / "src"), *PACKAGES])},
        capture_output=True,
        text=True,
        cwd="/",
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, "a result"]
