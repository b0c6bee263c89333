"""The extension finds the files of a run that a node's inputs name, as nodes find them; and tells when they change."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from comfyward.comfy import process

FILES = {
    "/input/face.png": "digest-1",
    "/input/set/a.png": "digest-2",
    "/models/loras/x/y.safetensors": "digest-3",
    "/models/embeddings/style.pt": "digest-4",
    "/models/diffusers/sd/unet/weights.bin": "digest-5",
}


@pytest.fixture
def run_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The extension's module beside a ComfyUI of which only the folders are there."""
    comfyui = ModuleType("folder_paths")
    models = {"loras": {".safetensors"}, "embeddings": {".pt"}, "diffusers": {"folder"}}
    folders: dict[str, Any] = {kind: ([f"{tmp_path}/models/{kind}"], suffixes) for kind, suffixes in models.items()}
    folders["loras"][0].append(f"{tmp_path}/operator/loras")
    comfyui.__dict__.update(
        base_path=str(tmp_path),
        folder_names_and_paths=folders,
        get_folder_paths=lambda kind: folders[kind][0],
        get_input_directory=lambda: f"{tmp_path}/input",
    )
    monkeypatch.setitem(sys.modules, "folder_paths", comfyui)

    def load(name: str) -> ModuleType:
        path = process.EXTENSION_DIR / "comfyward_extension" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"extension.{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    monkeypatch.setitem(sys.modules, "extension", ModuleType("extension"))
    load("folders")
    return load("run_files")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("face.png", {"input/face.png"}),
        ("face.png [input]", {"input/face.png"}),
        ("input/face.png", {"input/face.png"}),
        ("set", {"input/set"}),
        ("./set/", {"input/set"}),
        ("set/a.png", {"input/set/a.png"}),
        ("set\\a.png", {"input/set/a.png"}),
        ("x/y.safetensors", {"models/loras/x/y.safetensors"}),
        ("loras/x/y.safetensors", {"models/loras/x/y.safetensors"}),
        ("sd", {"models/diffusers/sd"}),
        ("a portrait (embedding:style:1.2), bright", {"models/embeddings/style.pt"}),
        ({"on": True, "rows": [{"lora": "x/y.safetensors"}, {"lora": "none"}]}, {"models/loras/x/y.safetensors"}),
        (["face.png", "set/a.png"], {"input/face.png", "input/set/a.png"}),
        ("a.png", set()),
        ("image", set()),
        ("input", set()),
        ("", set()),
        ("face.png\0", set()),
    ],
)
def test_files_are_found_by_every_name_that_nodes_find_them_by(
    run_files: Any, tmp_path: Path, value: object, named: set[str]
) -> None:
    found = run_files.RunFiles(FILES).named(value)

    assert {str(Path(place).relative_to(tmp_path)) for place in found} == named


def test_a_path_by_content_names_the_same_file(run_files: Any, tmp_path: Path) -> None:
    files = run_files.RunFiles(FILES)
    place = f"{tmp_path}/input/face.png"

    path = files.path_of(place)

    assert path == f"{tmp_path.parent}/content/digest-1/input/face.png"
    assert files.named(path) == files.named(place) == {place: "digest-1"}
    assert files.path_of(f"{tmp_path}/input/other.png") == f"{tmp_path}/input/other.png"


def test_a_folder_changes_with_what_is_brought_into_it(run_files: Any) -> None:
    def identity(**files: str) -> object:
        return run_files.RunFiles({f"/input/set/{name}.png": digest for name, digest in files.items()}).named("set")

    assert identity(a="1", b="2") == identity(a="1", b="2")
    assert identity(a="1", b="2") != identity(a="1", b="3")
    assert identity(a="1", b="2") != identity(a="1")


def test_the_operators_own_file_changes_with_the_disk(run_files: Any, tmp_path: Path) -> None:
    place = tmp_path / "operator" / "loras" / "house.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"one")
    one = run_files.RunFiles(FILES).named("house.safetensors")
    place.write_bytes(b"another")
    another = run_files.RunFiles(FILES).named("house.safetensors")

    assert one.keys() == another.keys() == {str(place)}
    assert one != another
