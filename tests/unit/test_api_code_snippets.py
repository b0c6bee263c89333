"""View API code: each program says exactly what the run was, whatever is in it."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from typing import Any

import pytest

from comfyward.web.snippets import Recipe, Variable, literal, snippets, variable_names

NASTY = 'it\'s "$HOME" `date` \\ \\n $(date) ${X} \n tab\t ü 日本 </pre> {braces} %s JSON'
PROMPT = {"1": {"class_type": "Encode", "inputs": {"text": NASTY, "on": True, "off": None, "link": ["2", 0], "x": 1.5}}}


def recipe(**more: Any) -> Recipe:
    return Recipe("http://127.0.0.1:8600", "workflow", PROMPT, **more)


def text_of(made: Recipe, kind: str) -> str:
    return next(snippet.text for snippet in snippets(made) if snippet.id == kind)


def body_of_curl(text: str, **environment: str) -> Any:
    """The body that curl would send: the program, with `cat` in its place."""
    start, end = text.index("<<JSON"), text.index("\nJSON\n")
    values = text.partition("RUN_ID=")[0]
    program = f"{values}cat <<JSON\n{text[text.index(chr(10), start) + 1 : end]}\nJSON\n"
    done = subprocess.run(["bash", "-c", program], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_curl_sends_the_graph_as_it_is() -> None:
    assert body_of_curl(text_of(recipe(), "curl")) == {"prompt": PROMPT}


def test_curl_puts_variables_and_secrets_in() -> None:
    varied = {"1": {"class_type": "Encode", "inputs": {"text": Variable("text"), "seed": Variable("seed")}}}
    files = {"/input/a": {"url": "https://h/a", "headers": {"Authorization": Variable("FILE_AUTH", secret=True)}}}
    made = Recipe("http://h", "w", varied, {"text": NASTY, "seed": 7}, files)

    body = body_of_curl(text_of(made, "curl"), FILE_AUTH="hush")

    assert body["prompt"]["1"]["inputs"] == {"text": NASTY, "seed": 7}
    assert body["files"]["/input/a"]["headers"] == {"Authorization": "hush"}


@pytest.mark.parametrize("kind", ["requests", "client", "sdk"])
def test_python_holds_the_graph_as_it_is(kind: str) -> None:
    tree = ast.parse(text_of(recipe(files={"/input/a": "https://h/a"}, stored={"/input/b": "digest"}), kind))

    values = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = ast.literal_eval(values["body"])["prompt"] if kind == "requests" else ast.literal_eval(values["prompt"])
    assert found == PROMPT


def test_javascript_holds_the_graph_as_it_is() -> None:
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    text = text_of(recipe(accelerator="L4", webhook="https://h/hook"), "javascript")
    body = text[text.index("const body = ") : text.index("\n\nasync function")]

    done = subprocess.run(
        ["node", "-e", f"{body}\nconsole.log(JSON.stringify(body))"], capture_output=True, text=True, check=True
    )

    assert json.loads(done.stdout) == {"prompt": PROMPT, "accelerator": "L4", "webhook": "https://h/hook"}


def test_names_are_good_and_told_apart() -> None:
    keys = [
        ("3.seed", "seed", "KSampler"),
        ("6.text", "text", "Positive Prompt"),
        ("7.text", "text", "否定"),
        ("8.class", "class", "Node"),
        ("9.4-k", "4-k", "Node"),
        ("10.width", "width", "A size!"),
        ("11.width", "width", "A size?"),
    ]

    names = variable_names(keys)

    assert names["3.seed"] == "seed"
    assert (names["6.text"], names["7.text"]) == ("text_positive_prompt", "text_7")
    assert (names["10.width"], names["11.width"]) == ("width_a_size_1", "width_a_size_2")
    assert all(name.isidentifier() for name in names.values())
    assert len(set(names.values())) == len(keys)


def test_empty_values_keep_their_form() -> None:
    assert literal({}, str) == "{}"
    assert literal([], str, python=True) == "[]"
    assert literal({"a": {}}, str, python=True) == '{\n    "a": {}\n}'
