"""`comfyward run` changes inputs and takes files as they are written in a shell."""

from pathlib import Path

import click
import pytest

from comfyward.cli.run import changed, parse_file
from comfyward.workflows.graph import only_for

GRAPH = {"3": {"class_type": "KSampler", "inputs": {"seed": 1}}, "a.b": {"class_type": "Text", "inputs": {}}}


def test_inputs_are_set_by_json_or_text_without_changing_the_graph() -> None:
    made = changed(GRAPH, ("3.seed=7", "3.name=euler", "a.b.text=a = b", "3.size=[1, 2]", "3.on=true"))

    assert made["3"]["inputs"] == {"seed": 7, "name": "euler", "size": [1, 2], "on": True}
    assert made["a.b"]["inputs"] == {"text": "a = b"}
    assert GRAPH["3"]["inputs"] == {"seed": 1}


@pytest.mark.parametrize("change", ["3.seed", "seed=7", "3.=7", "9.seed=7", "=7"])
def test_setting_an_unknown_input_is_refused(change: str) -> None:
    with pytest.raises(click.BadParameter):
        changed(GRAPH, (change,))


def test_files_are_urls_or_local(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")

    assert parse_file("/input/a.png=https://h/a=b") == ("/input/a.png", "https://h/a=b")
    assert parse_file(f"/input/a.png={tmp_path / 'a.png'}") == ("/input/a.png", tmp_path / "a.png")
    for wrong in ("/input/a.png", "=x", "/input/a.png=", "/input/a.png=missing.png"):
        with pytest.raises(click.BadParameter):
            parse_file(wrong)


def test_a_partial_graph_keeps_the_dependencies_of_its_targets() -> None:
    graph = {
        "1": {"class_type": "A", "inputs": {}},
        "2": {"class_type": "B", "inputs": {"x": ["1", 0], "y": ["gone", 0]}},
        "3": {"class_type": "Save", "inputs": {"x": ["2", 0]}},
        "4": {"class_type": "Save", "inputs": {"x": ["1", 0]}},
    }

    assert list(only_for(graph, ["3"])) == ["1", "2", "3"]
    assert list(only_for(graph, ["4", "nothing"])) == ["1", "4"]
    assert only_for(graph, []) == {}
