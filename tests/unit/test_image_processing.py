"""Thumbnails, other forms and masks are made in a process of its own; what is no picture is said to be none."""

from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyward.files.pictures import Decoders


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Red, half transparent, with a workflow in it."""
    about = PngInfo()
    about.add_text("workflow", "{}")
    path = tmp_path / "picture.png"
    Image.new("RGBA", (400, 200), (255, 0, 0, 128)).save(path, pnginfo=about)
    return path


@pytest.mark.parametrize(
    ("form", "channel", "mode", "pixel"),
    [
        ("png", "rgba", "RGBA", (255, 0, 0, 128)),
        ("png", "rgb", "RGB", (255, 0, 0)),
        ("png", "a", "RGBA", (0, 0, 0, 128)),
        ("jpeg", "rgba", "RGB", (254, 0, 0)),
    ],
)
async def test_a_picture_in_another_form(
    picture: Path, tmp_path: Path, form: str, channel: str, mode: str, pixel: tuple[int, ...]
) -> None:
    target = tmp_path / "target"

    assert await Decoders().convert("me", picture, target, form=form, quality=95, channel=channel)

    with Image.open(target) as made:
        assert (made.format, made.mode, made.getpixel((0, 0))) == (form.upper(), mode, pixel)


async def test_a_mask_becomes_the_pictures_alpha_and_its_texts_stay(picture: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    Image.new("RGBA", (400, 200), (9, 9, 9, 7)).save(mask)

    assert await Decoders().put_mask("me", picture, mask, tmp_path / "target")

    with Image.open(tmp_path / "target") as made:
        assert made.getpixel((0, 0)) == (255, 0, 0, 7)
        assert made.text == {"workflow": "{}"}  # type: ignore[attr-defined]


async def test_a_thumbnail_is_small(picture: Path, tmp_path: Path) -> None:
    assert await Decoders().thumbnail("me", picture, tmp_path / "target")

    with Image.open(tmp_path / "target") as made:
        assert made.size == (300, 150)


async def test_a_non_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no picture")

    decoders, text, target = Decoders(), tmp_path / "text", tmp_path / "target"

    assert not await decoders.thumbnail("me", text, target)
    assert not await decoders.convert("me", text, target, form="png", quality=90, channel="rgba")
    assert not await decoders.put_mask("me", text, text, target)
