"""An archive whose compression unpacks without bounds is refused before anything of it is read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from comfyward.environments import archive
from comfyward.environments.forms.archives import zip_members
from comfyward.errors import InvalidEnvironment


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_of_a_pack_and_of_another_program(method: int, tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as packed:
        packed.writestr("snapshot.json", bytes(1 << 20))
    sent = tmp_path / "pack.zip"
    sent.write_bytes(made.getvalue())

    with pytest.raises(InvalidEnvironment, match="compressed in a way that is not taken"):
        zip_members(made.getvalue(), frozenset({"snapshot.json"}))
    with pytest.raises(InvalidEnvironment, match="compressed in a way that is not taken"):
        archive.unpack(sent, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()
