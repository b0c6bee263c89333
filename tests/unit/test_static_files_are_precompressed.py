"""The compressed forms that lie beside a package's files."""

import gzip
import random
from pathlib import Path

import brotli

from comfyward.comfy.compression import compress


def test_both_encodings_exist_where_they_save_space(tmp_path: Path) -> None:
    text, noise = b"let it = 1;\n" * 500, random.Random(1).randbytes(4000)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "main.js").write_bytes(text)
    (tmp_path / "noise.json").write_bytes(noise)
    (tmp_path / "picture.png").write_bytes(text)

    compress(tmp_path)
    compress(tmp_path)

    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"assets/main.js", "assets/main.js.br", "assets/main.js.gz", "noise.json", "picture.png"}
    assert brotli.decompress((tmp_path / "assets" / "main.js.br").read_bytes()) == text
    assert gzip.decompress((tmp_path / "assets" / "main.js.gz").read_bytes()) == text
