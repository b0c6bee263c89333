"""`scripts/gpu-check` brings an empty PyAV: torchvision and ComfyUI do with it what they do when they are loaded."""

import subprocess
import sys
from pathlib import Path

from bench.gpu.folder import STANDS_IN

# torchvision/io/video.py and torchvision/io/__init__.py; ComfyUI's nodes and input types
LOADED = """
import av
av.logging.set_level(av.logging.ERROR)
assert hasattr(av.video.frame.VideoFrame, "pict_type")
import av.error
from av.container import InputContainer
from av.subtitles.stream import SubtitleStream
class Own(InputContainer): ...
def wanted(stream: SubtitleStream | None, frame: av.VideoFrame) -> Own: ...
assert tuple(map(int, av.__version__.split(".")[:2])) >= (14, 1)
"""


def test_what_is_done_with_it_when_libraries_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "av").mkdir()
    (tmp_path / "av" / "__init__.py").write_text(STANDS_IN)

    done = subprocess.run(
        [sys.executable, "-c", LOADED], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
