"""The pack of a missing node class is found by the first source that knows it; strangers' answers are not believed."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from comfyward.environments.finding.finder import Finder
from comfyward.environments.finding.map_files import MapFiles
from comfyward.environments.finding.node_map import CLASSES, PACKS, STARS
from comfyward.environments.finding.own_table import own_table
from comfyward.environments.finding.registry_answers import SILENT_S, RegistryAnswers
from comfyward.errors import InvalidGraph, SetupFailed
from comfyward.files.guard import Guard
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.graph import parse_graph
from comfyward.workflows.listing import Paths
from comfyward.workflows.noted import Noted, packs_noted
from comfyward.workflows.offer import CHECK_HINT, Offer
from comfyward.workflows.validation import check
from tests.fakes.http import Origin

GITHUB = "https://github.com"
NOBODY = "http://127.0.0.1:9"
CORE_NOTE = Noted("comfy-core", "0.31.2")
MAP: dict[str, Any] = {
    f"{GITHUB}/a/one": [["Only One", "Shared", "Together", "Starred", "Preempted"], {"title_aux": "One"}],
    f"{GITHUB}/b/two": [["Shared", "Starred"], {"title_aux": "Two"}],
    f"{GITHUB}/c/three": [["Together", "Rare", "Preempted"], {"preemptions": ["Preempted", "Only Preempted"]}],
    f"{GITHUB}/d/pattern": [[], {"nodename_pattern": " \\(pattern\\)$"}],
    f"{GITHUB}/e/either": [[], {"nodename_pattern": "^Either"}],
    f"{GITHUB}/f/or": [[], {"nodename_pattern": "^Either"}],
    f"{GITHUB}/g/broken-pattern": [["Beside A Broken Pattern"], {"nodename_pattern": "("}],
    "https://gist.example.com/raw/one.py": [["In A File"], {}],
    "htps://mistyped": [["Mistyped"], {}],
    f"{GITHUB}/h/core-thief": [["KSampler", "SaveImageAdvanced"], {}],
}
LIST = {"custom_nodes": [{"id": "two", "reference": f"{GITHUB}/B/two.git", "files": []}, {"reference": "x"}]}
NUMBERS = {f"{GITHUB}/a/one": {"stars": 900}, f"{GITHUB}/c/three": {"stars": 5}, f"{GITHUB}/e/either": {"stars": 7}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """ComfyUI-Manager's three files, made up."""
    made = tmp_path / "map"
    made.mkdir()
    for name, content in ((CLASSES, MAP), (PACKS, LIST), (STARS, NUMBERS)):
        (made / name).write_text(json.dumps(content))
    return made


def finder(folder: Path | None, url: str = "", table: Path | None = None) -> Finder:
    registry = RegistryAnswers(url, Guard.allowing(["127.0.0.1"]))
    return Finder(own_table(table), registry, MapFiles(Path("/nonexistent"), folder))


def shown(offers: tuple[Offer, ...]) -> list[tuple[str, str, str]]:
    return [(each.source or each.comfyui or each.pack, each.origin, each.confidence) for each in offers]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Only One", [("git+https://github.com/a/one@HEAD", "map", "likely")]),
        ("Rare", [("git+https://github.com/c/three@HEAD", "map", "likely")]),
        ("Seed (pattern)", [("git+https://github.com/d/pattern@HEAD", "pattern", "likely")]),
        (
            "Either This",
            [
                ("git+https://github.com/e/either@HEAD", "pattern", "possible"),
                ("git+https://github.com/f/or@HEAD", "pattern", "possible"),
            ],
        ),
        # In the registry comes before stars.
        (
            "Shared",
            [
                ("git+https://github.com/b/two@HEAD", "map", "possible"),
                ("git+https://github.com/a/one@HEAD", "map", "possible"),
            ],
        ),
        (
            "Preempted",
            [
                ("git+https://github.com/c/three@HEAD", "map", "likely"),
                ("git+https://github.com/a/one@HEAD", "map", "possible"),
            ],
        ),
        ("Only Preempted", [("git+https://github.com/c/three@HEAD", "map", "likely")]),
        (
            "Together",
            [
                ("git+https://github.com/a/one@HEAD", "map", "possible"),
                ("git+https://github.com/c/three@HEAD", "map", "possible"),
            ],
        ),
        ("Beside A Broken Pattern", [("git+https://github.com/g/broken-pattern@HEAD", "map", "likely")]),
        ("In A File", [("https://gist.example.com/raw/one.py", "map", "likely")]),
        ("Mistyped", [("htps://mistyped", "map", "likely")]),
        ("KSampler", [(">=0.3.75", "core", "certain")]),
        ("SaveImageAdvanced", [(">=0.24.1", "core", "certain")]),
        ("Nobody Has This", []),
        ("", []),
        ("x" * 100_000, []),
    ],
)
def test_a_class_is_found_in_the_map(folder: Path, name: str, expected: list[tuple[str, str, str]]) -> None:
    assert shown(finder(folder).known([name]).get(name, ())) == expected


def test_the_pack_that_has_more_of_a_graph_comes_first(folder: Path) -> None:
    found = finder(folder).known(["Together", "Rare"])

    assert found["Together"][0].pack == "three"


def test_the_operators_table_wins_over_the_map_but_not_over_core(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.toml"
    table.write_text('"Only One" = "cnr:ours@1.0"\nKSampler = "cnr:ours@1.0"\n')

    found = finder(folder, table=table).known(["Only One", "KSampler"])

    assert shown(found["Only One"]) == [("cnr:ours@1.0", "table", "certain")]
    assert found["KSampler"][0].origin == "core"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.toml", '"A" = "somewhere"', "has no source for 'A'"),
        ("t.toml", "A = 3", "has no source for 'A'"),
        ("t.toml", "A =", "cannot be read"),
        ("t.json", "[]", "a source for each class"),
        ("t.json", "[" * 100_000, "cannot be read"),
        ("missing.json", None, "cannot be read"),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SetupFailed, match=message):
        own_table(tmp_path / name)


@pytest.mark.parametrize(
    ("noted", "source"),
    [
        (Noted("comfyui-kjnodes", "1.1.9"), "cnr:comfyui-kjnodes@1.1.9"),
        (Noted(aux_id="rgthree/rgthree-comfy", version="a" * 40), f"git+{GITHUB}/rgthree/rgthree-comfy@{'a' * 40}"),
        (Noted(aux_id="rgthree/rgthree-comfy"), f"git+{GITHUB}/rgthree/rgthree-comfy@HEAD"),
        (Noted("x", "nightly", "a/b"), f"git+{GITHUB}/a/b@HEAD"),
        (Noted("x", "nightly"), None),
        (Noted("comfy-core", "nightly"), None),
        (Noted("../../etc", "1.0"), None),
        (Noted("x; rm -rf ~", "1.0"), None),
        (Noted("x", "1.0 && reboot"), None),
        (Noted(aux_id="a/b/../../c"), None),
        (Noted(aux_id="a@evil.example/b"), None),
    ],
)
def test_a_note_in_the_graph_is_a_suggestion(noted: Noted, source: str | None) -> None:
    found = finder(None).known(["X"], {"X": noted})

    assert [(each.source, each.origin, each.confidence) for each in found.get("X", ())] == (
        [(source, "workflow", "likely")] if source else []
    )


def test_a_class_of_comfyuis_own_needs_the_version_that_saved_it() -> None:
    found = finder(None).known(["New In Comfy", "KSampler"], dict.fromkeys(("New In Comfy", "KSampler"), CORE_NOTE))

    assert shown(found["New In Comfy"]) == [(">=0.31.2", "workflow", "likely")]
    assert shown(found["KSampler"]) == [(">=0.3.75", "core", "certain")]


def test_notes_are_read_from_the_editors_form_also_in_subgraphs() -> None:
    node = {"type": "Inner", "properties": {"cnr_id": "inner", "ver": "2.0"}}
    graph = {
        "nodes": [
            {"type": "A", "properties": {"aux_id": "o/a"}},
            {"type": "A", "properties": {"aux_id": "o/b"}},
            {"type": "B", "properties": {"cnr_id": ["x"], "ver": 3}},
            {"type": 4, "properties": None},
            7,
        ],
        "definitions": {"subgraphs": [{"nodes": [node]}]},
    }

    assert packs_noted(graph) == {"A": Noted(aux_id="o/a"), "Inner": Noted("inner", "2.0")}
    assert packs_noted({"nodes": [{"nodes": []}] * 50_000}) == {}
    assert packs_noted({"definitions": [{}], "nodes": []}) == {}


def answered(site: Origin, name: str, content: object, **how: Any) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    site.put(f"/comfy-nodes/{quote(name, safe='')}/node", data, **how)


def test_the_registry_is_asked_once_for_what_nothing_surer_knows(folder: Path, site: Origin) -> None:
    answered(site, "A/b (c)", {"id": "kj", "latest_version": {"version": "1.4.2"}, "repository": f"{GITHUB}/k/j"})
    here = finder(folder, site.url)

    for _ in range(2):
        found = here.ask(["A/b (c)", "KSampler", "Only One"])
        assert shown(found["A/b (c)"]) == [("cnr:kj@1.4.2", "registry", "likely")]
        assert found["Only One"][0].origin == "map"

    asked = sorted(request.path for request in site.requests)
    assert asked == ["/comfy-nodes/A%2Fb%20%28c%29/node", "/comfy-nodes/Only%20One/node"]
    assert here.known(["A/b (c)"])["A/b (c)"][0].origin == "registry"


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b"[" * 100_000,
        b"\xff\xfe",
        b'"text"',
        {},
        {"id": "../../nodes", "latest_version": {"version": "1"}},
        {"id": "kj", "latest_version": {"version": "1 && reboot"}},
        {"id": "kj\n[[pack]]", "latest_version": {"version": "1"}},
        {"id": "<script>", "latest_version": {"version": "1"}, "repository": "javascript:alert(1)"},
        {"id": ["kj"], "latest_version": 7, "repository": {"a": 1}},
        {"id": "kj", "latest_version": {"version": "1"}, "status": "NodeStatusBanned"},
        {"repository": "https://user:secret@github.com/a/b"},
        {"repository": "https://[::1/x"},
        {"repository": "file:///etc/passwd"},
        {"repository": "https://10.0.0.5/a/b"},
        {"repository": "http://169.254.169.254/latest/b"},
        {"repository": "http://2130706433/a/b"},
        {"repository": "http://localhost:8000/a/b"},
        # An admin copies the command into a shell.
        {"repository": f"{GITHUB}/a/$(reboot)/b"},
        {"repository": f"{GITHUB}/a;reboot/b"},
        {"repository": f"{GITHUB}/a/b\nreboot/b"},
        {"repository": f"{GITHUB}/a' 'b/b"},
        {"repository": f"{GITHUB}/\u202eb/b"},
    ],
)
def test_an_answer_of_the_registry_that_names_no_source_is_no_answer(site: Origin, content: object) -> None:
    answered(site, "X", content)

    assert finder(None, site.url).ask(["X"]) == {}


def test_a_flagged_version_gives_the_repository(site: Origin) -> None:
    newest = {"version": "1.0", "status": "NodeVersionStatusFlagged"}
    answered(site, "X", {"id": "kj", "latest_version": newest, "repository": f"{GITHUB}/k/j"})

    assert shown(finder(None, site.url).ask(["X"])["X"]) == [(f"git+{GITHUB}/k/j@HEAD", "registry", "likely")]


def test_an_endless_answer_is_not_read_to_its_end(site: Origin) -> None:
    answered(site, "X", b" " * (2 << 20))

    assert finder(None, site.url).ask(["X"]) == {}


def test_a_registry_that_does_not_answer_is_left_alone_for_a_while(folder: Path, site: Origin) -> None:
    now = [0.0]
    answered(site, "Rare", b"", status=500)
    registry = RegistryAnswers(site.url, Guard.allowing(["127.0.0.1"]), lambda: now[0])
    here = Finder({}, registry, MapFiles(Path("/nonexistent"), folder))

    assert here.ask(["Rare"], patience_s=60)["Rare"][0].origin == "map"
    asked = len(site.requests)
    assert here.is_registry_silent
    here.ask(["Rare", "Nobody Has This"])
    assert len(site.requests) == asked

    now[0] += SILENT_S
    answered(site, "Rare", {"id": "rare", "latest_version": {"version": "1.0"}})
    assert shown(here.ask(["Rare"])["Rare"]) == [("cnr:rare@1.0", "registry", "likely")]


def test_a_registry_that_holds_its_answer_back_costs_only_the_patience(site: Origin) -> None:
    hold = threading.Event()
    answered(site, "X", {}, hold=hold)
    here = finder(None, site.url)
    try:
        assert here.ask(["X"], patience_s=1) == {}
        assert here.is_registry_silent
    finally:
        hold.set()


def test_offline_the_map_still_answers(folder: Path) -> None:
    here = finder(folder, NOBODY)

    assert here.ask(["Only One"])["Only One"][0].pack == "one"
    assert here.is_registry_silent


def test_without_a_map_core_still_answers(tmp_path: Path) -> None:
    (tmp_path / CLASSES).write_text("{")
    assert finder(None).known(["KSampler", "Only One"]).keys() == {"KSampler"}
    assert finder(tmp_path).known(["KSampler", "Only One"]).keys() == {"KSampler"}


def refused(elsewhere: Finder, *classes: str) -> InvalidGraph:
    graph = parse_graph({str(number): {"class_type": name, "inputs": {}} for number, name in enumerate(classes)})
    with pytest.raises(InvalidGraph) as raised:
        check(graph, Catalog(elsewhere=elsewhere), Paths([])).raise_if_any()
    return raised.value


def test_a_refused_graph_names_pack_and_command(folder: Path) -> None:
    error = refused(finder(folder), "Only One", "Nobody Has This")

    assert error.message == "Only One is not installed: it is in the pack one: node 0 (Only One) (and 1 more)."
    assert error.hint == (
        f"{CHECK_HINT} An admin can add the pack to an environment: comfyward environments add NAME git+https://github.com/a/one@HEAD"
    )
    first, second = error.details["problems"]
    assert first["packs"][0] == {
        "pack": "one",
        "source": "git+https://github.com/a/one@HEAD",
        "comfyui": None,
        "from": "map",
        "confidence": "likely",
        "command": "comfyward environments add NAME git+https://github.com/a/one@HEAD",
    }
    assert "packs" not in second


def test_a_refused_graph_names_the_version_of_comfyui_and_never_a_pack(folder: Path) -> None:
    error = refused(finder(folder), "SaveImageAdvanced")

    assert error.message.startswith("SaveImageAdvanced is not installed: it needs ComfyUI >=0.24.1: ")
    assert "github" not in json.dumps([error.message, error.hint, error.details])
