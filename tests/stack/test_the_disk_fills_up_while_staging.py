"""No space left on the worker: the run ends with a clear reason, and the next one works."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.http import Origin
from tests.small_disk import mounted
from tests.stack.conftest import StartFake
from tests.stack.graphs import fake_save

SIZE_MIB = 8


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB where the server will have its cache."""
    with mounted(tmp_path / "server-0" / "cache", SIZE_MIB) as folder:
        yield folder


def test_the_disk_fills_up_while_staging(small_disk: Path, start_fake: StartFake, site: Origin) -> None:
    client = start_fake(max_attempts="2").wait_ready().client()
    url = site.put("/large", b"x" * (2 * SIZE_MIB << 20))

    run = client.run(fake_save(), files={"/models/checkpoints/large.bin": url})

    assert (run["status"], run["end_reason"]) == ("ERROR", "storage_full"), run["error"]
    assert "No space left" in run["error"]["message"]
    assert client.run(fake_save("small"), files={"/input/a.txt": site.put("/small", b"fits")})["status"] == "COMPLETED"
