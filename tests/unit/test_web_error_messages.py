"""Every error has a sentence for the website: in its reader's words, without any of the API's."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import comfyward
from comfyward import errors
from comfyward.errors import ComfywardError, InvalidGraph
from comfyward.runs.failure import Failure
from comfyward.runs.run import ENDINGS, Api, EndReason, Run
from comfyward.web import failures, problems
from comfyward.web.problems import Action, Advice, PageError, advices, on_problems
from comfyward.workflows.catalog import Catalog
from tests.api_words import api_words_in

SOURCE = Path(comfyward.__file__).parent
CATALOG = Catalog(
    nodes={"LoadImage": {"display_name": "Load Image"}, "CheckpointLoaderSimple": {"display_name": "Load Checkpoint"}},
    folders={"LoadImage": {"image": "input"}, "CheckpointLoaderSimple": {"ckpt_name": "checkpoints"}},
)
PROMPT = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "bad.png"}},
    "2": {"class_type": "LoadImage", "inputs": {"image": "b.png"}},
    "3": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "m.safetensors"}},
    "4": {"class_type": "Blend", "inputs": {}, "_meta": {"title": "My blend"}},
}


def every_error() -> Iterator[type[ComfywardError]]:
    waiting = [ComfywardError]
    while waiting:
        kind = waiting.pop()
        if kind.__module__ == errors.__name__:
            yield kind
        waiting += kind.__subclasses__()


@pytest.mark.parametrize("kind", sorted(set(every_error()), key=lambda kind: kind.__name__))
def test_every_error_has_a_message_for_people(kind: type[ComfywardError]) -> None:
    assert (kind.code in problems.SENTENCES) != (kind.code in problems.OWN_WORDS)
    if kind.code in problems.OWN_WORDS:
        return
    secret = kind("'files' must be an object.", hint="See GET /api/v1/nodes.")

    [advice] = advices(secret, "w1")

    assert api_words_in(advice.sentence) == []
    assert advice.sentence.endswith(".")


def raised(folder: str, names: set[str]) -> Iterator[tuple[str, str, str]]:
    """(where, message, hint) of each error of those names that a folder's modules raise."""
    for path in sorted((SOURCE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[message, *rest], keywords=more)):
                    if name in names:
                        yield f"{path.name}:{node.lineno}", words(message), " ".join(map(words, [*rest, *more]))


def words(part: ast.AST) -> str:
    """The literal text of an expression."""
    return "".join(
        each.value for each in ast.walk(part) if isinstance(each, ast.Constant) and isinstance(each.value, str)
    )


def test_errors_shown_as_they_are_use_plain_words() -> None:
    own = {kind.__name__ for kind in every_error() if kind.code in problems.OWN_WORDS}
    found = [each for folder in ("store", "dispatch", "workflows", "accounts") for each in raised(folder, own)]

    assert len(found) > 5
    assert [(where, message) for where, message, _ in found if api_words_in(message)] == []


def test_errors_raised_by_pages_use_plain_words() -> None:
    assert list(raised("web", {kind.__name__ for kind in every_error()} - {"SetupFailed"})) == []
    found = list(raised("web", {"PageError"}))
    assert len(found) > 15
    assert [each for each in found if api_words_in(f"{each[1]} {each[2]}")] == []


def test_an_error_of_a_page_is_shown_as_it_is() -> None:
    assert advices(PageError("Enter a name.", "Use the name of its program.")) == [
        Advice("Enter a name. Use the name of its program.")
    ]


def facts(kind: str, **more: Any) -> dict[str, Any]:
    about = {"node_id": "1", "node": "Load Image", "class_type": "LoadImage", "input": "image", "received": None}
    return {"type": kind, **about, "accepted": None, "folder": None, **more}


@pytest.mark.parametrize(
    ("problem", "sentence", "labels"),
    [
        (facts("missing_node_type", class_type="Fancy"), "Fancy is not installed.", ["Open in editor"]),
        (
            facts("value_not_in_list", folder="input", received=""),
            "Choose an image for Load Image.",
            ["Choose an image"],
        ),
        (
            facts("value_not_in_list", folder="input", received="bad.png"),
            "bad.png was not found. Choose another image for Load Image.",
            ["Choose an image"],
        ),
        (
            facts("value_not_in_list", folder="input", received="a.mp4", input="video", node="Clip"),
            "a.mp4 was not found. Choose another video for Clip.",
            ["Choose a video"],
        ),
        (
            facts("value_not_in_list", folder="checkpoints", received="v1-5-pruned.safetensors"),
            "v1-5-pruned.safetensors was not found.",
            ["Add by URL", "Upload"],
        ),
        (facts("value_not_in_list", folder="loras", received=""), "Choose a model for Load Image.", ["Open in editor"]),
        (
            facts("value_not_in_list", input="sampler_name", received="x", accepted=["euler", "ddim"]),
            "Load Image: x is not a valid sampler name. Choose euler, ddim.",
            ["Open in editor"],
        ),
        (facts("required_input_missing"), "Load Image: image is missing.", ["Open in editor"]),
        (facts("return_type_mismatch", accepted="MODEL"), "it accepts MODEL.", ["Open in editor"]),
        (facts("bad_linked_input"), "connected to a node that does not exist.", ["Open in editor"]),
        (
            facts("value_smaller_than_min", input="width", accepted={"min": 1}),
            "width must be at least 1.",
            ["Open in editor"],
        ),
        (
            facts("value_bigger_than_max", input="width", accepted={"max": 9}),
            "width must be at most 9.",
            ["Open in editor"],
        ),
        (facts("invalid_input_type", received="wide"), "wide is not valid for image.", ["Open in editor"]),
        (facts("something_newer"), "Load Image: image is not valid.", ["Open in editor"]),
    ],
)
def test_graph_problems_in_plain_words(problem: dict[str, Any], sentence: str, labels: list[str]) -> None:
    [advice] = advices(InvalidGraph("'prompt'", hint='"files"', problems=[problem]), "w1")

    assert sentence in advice.sentence
    assert [action.label for action in advice.actions] == labels
    assert api_words_in(advice.sentence) == []


def test_a_missing_model_leads_to_a_page_that_is_filled_in() -> None:
    problem = facts(
        "value_not_in_list", folder="loras", received="styles/ink & wash.safetensors", url="https://h/x?a=b"
    )

    [advice] = on_problems([problem, problem])

    assert advice.actions == (
        Action(
            "Add by URL",
            "/files?folder=loras%2Fstyles&name=ink+%26+wash.safetensors&url=https%3A%2F%2Fh%2Fx%3Fa%3Db#import",
        ),
        Action("Upload", "/files?into=%2Fmodels%2Floras%2Fstyles&as=ink+%26+wash.safetensors#upload"),
    )


def run(reason: EndReason, **failure: Any) -> Run:
    state = ENDINGS[reason].state
    blank: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(Run))
    known = {"id": "r1", "workflow_id": "w1", "state": state, "end_reason": reason, "started_at": 5}
    known |= {"failure": Failure(**{"message": "The run ended.", "hint": ENDINGS[reason].hint, **failure})}
    known |= {"submitted_via": Api.ICU, "prompt": msgspec.json.encode(PROMPT).decode(), "timeout_s": 60.0}
    return Run(**(blank | known))


@pytest.mark.parametrize("reason", [reason for reason in EndReason if reason is not EndReason.COMPLETED])
@pytest.mark.parametrize("catalog", [None, CATALOG])
def test_every_end_reason_has_a_message(reason: EndReason, catalog: Catalog | None) -> None:
    about = {"node_id": "4", "node_type": "Blend", "message": "it broke\n  at line 3", "details": {}}
    for failure in (
        {},
        about,
        {"details": {"path": "/input/a.png", "host": "example.com", "why": "'h' answered 404."}},
    ):
        found = failures.advices_on(run(reason, **failure), catalog)
        assert len(found) == 1
        assert api_words_in(found[0].sentence) == []
        assert "{" not in found[0].sentence
    assert failures.advices_on(run(EndReason.COMPLETED), catalog) == []


def said(reason: EndReason, **failure: Any) -> str:
    [advice] = failures.advices_on(run(reason, **failure), CATALOG)
    return advice.sentence


def test_a_failed_run_says_which_node_and_which_file() -> None:
    bad = {"node_id": "1", "node_type": "LoadImage", "message": "cannot identify image file '/input/bad.png'"}
    model = {"node_id": "3", "node_type": "CheckpointLoaderSimple", "message": "header too large"}
    fetched = {"path": "/models/loras/a.safetensors", "why": "'example.com' answered 404."}

    assert said(EndReason.NODE_ERROR, **bad, details={"input": "image", "value": "bad.png"}) == (
        "Load Image 1 could not read bad.png. Choose another file."
    )
    assert said(EndReason.NODE_ERROR, **model, details={"input": "ckpt_name", "value": "m.safetensors"}) == (
        "Load Checkpoint could not read m.safetensors. Choose another model, or add it again."
    )
    assert said(EndReason.NODE_ERROR, node_id="4", node_type="Blend", message="sizes differ\nmore") == (
        "My blend failed: sizes differ"
    )
    assert said(EndReason.OOM, node_id="4", node_type="Blend").startswith(
        "The accelerator ran out of memory in My blend."
    )
    assert said(EndReason.DOWNLOAD, details=fetched).startswith(
        "a.safetensors could not be downloaded: 'example.com' answered 404. Check its URL"
    )


def test_comfyui_refusals_read_like_ours() -> None:
    missing = {"type": "value_not_in_list", "extra_info": {"input_name": "image", "received_value": "bad.png"}}
    refused = {"node_errors": {"2": {"class_type": "LoadImage", "errors": [missing]}}, "error": {}}

    assert (
        said(EndReason.VALIDATION, details=refused) == "bad.png was not found. Choose another image for Load Image 2."
    )
