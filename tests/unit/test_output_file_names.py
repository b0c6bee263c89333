"""Each file that a run leaves has a name of its own, also when the file system's name is no text."""

import os
from pathlib import Path

from comfyward.worker.result_files import Bounds, found_in


def test_undecodable_names_stay_distinct(tmp_path: Path) -> None:
    for name in (b"a\xff.png", b"a\xfe.png", "a\u202f.png".encode()):
        (Path(os.fsdecode(bytes(tmp_path) + b"/" + name))).write_bytes(name)

    found = found_in(tmp_path, Bounds(1 << 20)).files

    assert {file.name: tmp_path.joinpath(*file.parts).read_bytes() for file in found} == {
        "a\\udcff.png": b"a\xff.png",
        "a\\udcfe.png": b"a\xfe.png",
        "a\u202f.png": "a\u202f.png".encode(),
    }
