"""Graphs made at random from every class that ComfyUI has, judged by ComfyUI itself: what it takes is taken here."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from comfyward.comfy.process import EXTENSION_DIR
from comfyward.errors import InvalidGraph
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.graph import parse_graph
from comfyward.workflows.listing import Paths
from comfyward.workflows.validation import check
from comfyward.workflows.verdict import Problem
from tests.conftest import ROOT, installation

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def judged(engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found, folder = installation(engine), tmp_path_factory.mktemp("judged")
    (folder / "base").mkdir()
    command = [found.python, ROOT / "engines" / "judged.py", EXTENSION_DIR / "comfyward_extension", ROOT / "packs"]
    command += [folder / "answer.json", "--cpu", "--base-directory", folder / "base", "--front-end-root", EXTENSION_DIR]
    ended = subprocess.run(command, cwd=found.source, capture_output=True, text=True, check=False)
    assert (folder / "answer.json").exists(), ended.stderr[-3000:]
    return dict(json.loads((folder / "answer.json").read_text()))


def problems(graph: dict[str, Any], catalog: Catalog, brought: Paths) -> list[Problem | str]:
    try:
        return list(check(parse_graph(graph), catalog, brought).problems)
    except InvalidGraph as error:
        return [error.message]


def test_every_graph_that_comfyui_accepts_is_accepted_and_most_it_refuses_are_refused(judged: dict[str, Any]) -> None:
    catalog, brought = Catalog.from_json(judged["catalog"]), Paths(judged["files"])
    found = [(graph, taken, problems(graph, catalog, brought)) for graph, taken in judged["cases"]]

    stricter = [(graph, why) for graph, taken, why in found if taken and why]
    assert not stricter, json.dumps(stricter[:5], default=str)[:4000]
    taken = [graph for graph, taken, _ in found if taken]
    assert len({graph["1"]["class_type"] for graph in taken}) > 300
    early = [graph for graph, taken, why in found if why and not taken]
    assert len(early) > 1000


def test_every_class_of_a_type_that_comfyui_interprets_is_accepted(judged: dict[str, Any]) -> None:
    catalog, brought = Catalog.from_json(judged["catalog"]), Paths(judged["files"])
    interpreted = {
        name
        for name, described in catalog.nodes.items()
        if "COMFY_" in json.dumps([described["input"], described["output"]])
    }

    accepted = {
        node["class_type"]
        for graph, taken in judged["cases"]
        if taken and not problems(graph, catalog, brought)
        for node in graph.values()
    }
    assert interpreted <= accepted
