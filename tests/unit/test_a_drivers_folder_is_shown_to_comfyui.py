"""Where only LD_LIBRARY_PATH finds a GPU's driver, ComfyUI finds it as the worker does; nothing else is passed on."""

from pathlib import Path

import pytest

from comfyward.sandbox import walls


def test_only_folders_with_a_driver_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, other = tmp_path / "nvidia", tmp_path / "conda"
    for folder, library in ((driver, "libcuda.so.1"), (other, "libz.so.1")):
        folder.mkdir()
        (folder / library).touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{other}:{driver}::relative:{tmp_path / 'nowhere'}")

    assert walls.drivers_folders() == [driver]
    assert walls.drivers_variables() == {"LD_LIBRARY_PATH": str(driver)}


def test_without_any_there_is_no_such_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)

    assert walls.drivers_variables() == {}
