"""ComfyUI's forms of a run name each of its files: they are looked up by name, not searched for one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from comfyward.api.native.job_shapes import job_detail
from comfyward.api.native.shapes import history_entry
from comfyward.runs.output import Output
from comfyward.runs.run import Run
from tests.unit.test_comfyui_history_and_jobs import file, run_with

MANY = 200
KINDS = ("output", "temp")


class Counted(list[Output]):
    """A list that counts how often it was gone through."""

    passes = 0

    def __iter__(self) -> Iterator[Output]:
        self.passes += 1
        return super().__iter__()

    def __reversed__(self) -> Iterator[Output]:
        self.passes += 1
        return super().__reversed__()


@pytest.mark.parametrize("kind", KINDS)
def test_many_files_are_not_gone_through_for_each_result(kind: str) -> None:
    files = Counted(Output(f"{number}", f"{number}.png", "d" * 64, 1, "image/png", "1") for number in range(MANY))
    run = _with(files, kind)

    shown = history_entry(run, None)["outputs"]["1"]["images"], job_detail(run)["outputs"]["1"]["images"]

    assert [len(each) for each in shown] == [MANY, MANY]
    assert files.passes < 10


def test_of_two_files_of_one_name_the_first_is_meant() -> None:
    first, second = (Output(number, "a.png", number * 64, 1, "image/png", "1") for number in "12")

    run = _with(Counted([first, second]), "output")

    assert run.file("output", "a.png") is first
    assert run.file("temp", "a.png") is None


def _with(files: Counted, kind: str) -> Run:
    images = [file(each.name, kind) for each in list(files)]
    run = run_with({"1": {"images": images}})
    return dataclasses.replace(run, outputs=files) if kind == "output" else dataclasses.replace(run, previews=files)
