"""Each vendored file has its package, version, licence and digest written down, and is that file."""

import hashlib
import json

from comfyward.web.assets import STATIC

VENDOR = STATIC / "vendor"


def test_the_manifest() -> None:
    manifest = json.loads((VENDOR / "manifest.json").read_text())

    assert {each["file"] for each in manifest} == {
        path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css")
    }
    for each in manifest:
        assert hashlib.sha256((VENDOR / each["file"]).read_bytes()).hexdigest() == each["sha256"]
        assert each["version"]
        assert (VENDOR / f"{each['file'].partition('.')[0]}.LICENSE").is_file()
