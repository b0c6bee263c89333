"""What packs ask for, as their authors write it: kept, ignored with a reason, or refused with its line."""

from __future__ import annotations

import pytest

from comfyward.environments.needs import Ignored, Need, needs_of
from comfyward.environments.rules import FAMILIES
from comfyward.errors import InvalidEnvironment


def asked(requirements: bytes) -> list[str]:
    return [need.requirement for need in needs_of("kj", requirements, None).asked]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"pillow >= 10.3.0\r\nscipy\r\n", ["pillow>=10.3.0", "scipy"]),
        (b"# a comment\n\nscipy # why\n", ["scipy"]),
        (b"\xef\xbb\xbfscipy\n", ["scipy"]),
        ("scipy\n".encode("utf-16"), ["scipy"]),
        (b"scipy # caf\xe9\n", ["scipy"]),
        (b"scipy \\\n  >=1.2 \\\n --hash=sha256:ab\nnumpy\n", ["scipy>=1.2", "numpy"]),
        (b"color-matcher; sys_platform == 'linux'\n", ['color-matcher; sys_platform == "linux"']),
        (b"opencv-python\n", ["opencv-python"]),
        (b"scipy \\", ["scipy"]),
        (b"", []),
    ],
)
def test_requirements_are_read_as_people_write_them(content: bytes, expected: list[str]) -> None:
    assert asked(content) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("torch==2.1.0", "ComfyUI decides the version"),
        ("Torchvision", "ComfyUI decides the version"),
        ("xformers>=0.0.20", "ComfyUI decides the version"),
        ("comfyui_frontend_package", "packs do not choose it"),
        ("pip>=23", "packs do not choose it"),
        ("comfy", "packs do not choose it"),
        ("--extra-index-url https://wheels.example.com/cu121", "packages come from the operator's index"),
        ("-i https://evil.example.com", "packages come from the operator's index"),
    ],
)
def test_a_pack_does_not_decide_this(line: str, reason: str) -> None:
    found = needs_of("kj", f"scipy\n{line}\n".encode(), None)

    assert found.asked == (Need("scipy", "requirements.txt, line 1"),)
    assert found.ignored == (Ignored(line, "requirements.txt, line 2", reason),)


@pytest.mark.parametrize(
    "line",
    [
        *(
            "-r other.txt",
            "-e .",
            "-c limits.txt",
            "-f https://h/wheels",
            "--find-links=x",
            "--requirement=/etc/passwd",
        ),
        *("git+https://github.com/x/y", "x @ git+https://github.com/x/y", "https://h/x.whl", "./wheels/x.whl"),
        *("file:///etc/passwd", "scipy scipy", "$(id)"),
    ],
)
def test_a_line_that_is_refused_is_named(line: str) -> None:
    with pytest.raises(InvalidEnvironment) as raised:
        needs_of("kj", f"# first\n{line}\n".encode(), None)
    assert raised.value.message.startswith(f"kj asks for '{line}' (requirements.txt, line 2), which is refused:")


def test_pyproject_counts_only_without_requirements() -> None:
    project = b'[project]\ndependencies = ["scipy>=1", "torch"]\n'

    assert needs_of("kj", None, project).asked == (Need("scipy>=1", "pyproject.toml"),)
    assert needs_of("kj", b"numpy\n", project).asked == (Need("numpy", "requirements.txt, line 1"),)
    assert needs_of("kj", None, b"[tool.other]\n").asked == ()
    assert needs_of("kj", None, None).asked == ()
    with pytest.raises(InvalidEnvironment, match=r"The pyproject.toml of kj cannot be read"):
        needs_of("kj", None, b"[project")


@pytest.mark.parametrize(
    ("chosen", "excluded"),
    [
        ({"opencv-python"}, {"opencv-python", "opencv-python-headless", "opencv-contrib-python"}),
        ({"opencv-contrib-python-headless"}, set()),
        ({"onnxruntime"}, set()),
        ({"onnxruntime-gpu"}, set()),
        ({"onnxruntime", "onnxruntime-gpu"}, {"onnxruntime"}),
        ({"scipy"}, set()),
    ],
)
def test_one_package_of_a_family_is_kept(chosen: set[str], excluded: set[str]) -> None:
    found = [family.others_of(frozenset(chosen)) for family in FAMILIES]
    assert set().union(*found) == excluded
