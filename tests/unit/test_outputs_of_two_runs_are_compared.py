"""The outputs of two runs of one graph are compared by count and kind, then picture by picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from comfyward.files.pictures import Decoders
from comfyward.runs.comparison import MAX_PAIRS, compared
from comfyward.runs.output import Output


def output(name: str, digest: str, content_type: str = "image/png", node_id: str | None = "9") -> Output:
    return Output(name, name, digest, 1, content_type, node_id)


def test_count_and_kind_are_compared_first() -> None:
    former = [output("a.png", "1"), output("b.png", "2"), output("c.mp4", "3", "video/mp4")]
    assert compared(former, former).message == ""
    assert compared(former, former[:1]).message == (
        "It made 1 file of image/png, where the run before made 2 files of image/png, 1 file of video/mp4."
    )
    assert compared(former, []).message.startswith("It made nothing, where")
    assert compared([], []).message == ""


def test_pictures_with_other_bytes_are_paired_by_kind_node_and_name() -> None:
    former = [output("b.png", "1"), output("a.png", "2", node_id="3"), output("c.mp4", "3", "video/mp4")]
    other = [output("c.mp4", "4", "video/mp4"), output("a.png", "5", node_id="3"), output("b.png", "1")]
    found = compared(former, other)
    assert [(one.digest, two.digest) for one, two in found.pairs] == [("2", "5")]
    many = [output(f"{number:02}.png", f"a{number}") for number in range(20)]
    changed = [output(f"{number:02}.png", f"b{number}") for number in range(20)]
    assert len(compared(many, changed).pairs) == MAX_PAIRS


@pytest.mark.parametrize(
    ("colour", "size", "difference"),
    [
        ((200, 100, 0), (8, 8), 0.0),
        ((202, 100, 0), (8, 8), 2 / 255 / 4),
        ((255, 255, 255), (8, 8), (55 + 155 + 255) / 255 / 4),
        ((200, 100, 0), (8, 9), 1.0),
    ],
)
async def test_the_mean_difference_of_two_pictures(
    tmp_path: Path, colour: tuple[int, int, int], size: tuple[int, int], difference: float
) -> None:
    one, two, target = tmp_path / "one", tmp_path / "two", tmp_path / "difference"
    Image.new("RGB", (8, 8), (200, 100, 0)).save(one, "PNG")
    Image.new("RGB", size, colour).save(two, "PNG")

    assert await Decoders().difference("ann", one, two, target)

    assert json.loads(target.read_text())["difference"] == pytest.approx(difference, abs=1e-6)
    two.write_bytes(b"no picture")
    assert not await Decoders().difference("ann", one, two, target)
