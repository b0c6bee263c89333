"""The editor's answers as they are kept, with the pins of the packages that gave them.

Made anew, in ten to thirty minutes, by: python -m tests.editor.kept
"""

from __future__ import annotations

import functools
import hashlib
import json
import lzma
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comfyward.api.native.frontend import static_of, templates_of
from comfyward.comfy import install
from comfyward.comfy.process import EXTENSION_DIR
from comfyward.comfy.releases import DEFAULT
from comfyward.errors import InvalidGraph
from comfyward.server_settings import default_data_dir
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.conversion.form import is_editor_graph
from comfyward.workflows.conversion.outline import active_nodes
from tests.editor.classes import CLASSES
from tests.editor.real import RealEditor, real_editor
from tests.editor.rules import RULES

KEPT = Path(__file__).parent / "kept"
OF_RULES = ("SaveImage", "CustomCombo", "KSampler")  # ComfyUI's own classes that the rules use


def read(name: str) -> Any:
    return json.loads(lzma.decompress((KEPT / f"{name}.json.xz").read_bytes()))


def write(name: str, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)  # in its order: of inputs, it matters
    (KEPT / f"{name}.json.xz").write_bytes(lzma.compress(text.encode(), preset=9))


def pins() -> dict[str, str]:
    """What the answers depend on."""
    files = {"editor": install.EDITOR_PINS, "templates": install.TEMPLATE_PINS}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for name, path in files.items()}
    return {**digests, "comfyui": DEFAULT.version}


@functools.cache
def catalog() -> Catalog:
    """ComfyUI's, with all of its partner nodes, and with the titles that the editor shows."""
    return Catalog(comfyui_version=DEFAULT.version, nodes=read("catalog"))


@functools.cache
def catalog_of_rules() -> Catalog:
    return Catalog(comfyui_version=DEFAULT.version, nodes=classes_of_rules(catalog().nodes))


def classes_of_rules(nodes: dict[str, Any]) -> dict[str, Any]:
    return {name: nodes[name] for name in OF_RULES} | CLASSES


def of_editor(nodes: dict[str, Any]) -> dict[str, Any]:
    """The kept descriptions of classes with what the editor wants of each, too."""
    return {
        name: {
            **{"name": name, "description": "", "category": "kept", "output_name": [*map(str, entry["output"])]},
            **{"output_is_list": [False] * len(entry["output"]), "output_node": False, "python_module": "nodes"},
            **entry,
        }
        for name, entry in nodes.items()
    }


def static(environments: Path) -> Path:
    """The files of the editor, fetched if they are missing."""
    found = static_of(install.frontend(environments, install.EDITOR_PINS, lambda what, fraction: None))
    assert found is not None
    return found


def workflows(environments: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The templates and blueprints that come with ComfyUI, by name."""
    folder = templates_of(install.frontend(environments, install.TEMPLATE_PINS, lambda what, fraction: None))
    installation = install.installed(environments, DEFAULT)
    assert folder is not None
    assert installation is not None
    for path in sorted((*folder.glob("*.json"), *(installation.source / "blueprints").glob("*.json"))):
        found = json.loads(path.read_text())
        if is_editor_graph(found):
            yield f"{path.parent.name}/{path.stem}", found


def answered(editor: RealEditor, graphs: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    found = {}
    for name, graph in graphs:
        found[name] = editor.sends(graph)
        print(f"{len(found)} {name}", flush=True)  # noqa: T201  progress of a command
    return found


def make_anew() -> None:
    """Asks the editor about everything."""
    environments = default_data_dir() / "environments"
    KEPT.mkdir(exist_ok=True)
    nodes = described(environments)
    with real_editor(static(environments), nodes | classes_of_rules(nodes)) as editor:
        titles = editor.titles()
        for name, entry in nodes.items():
            entry["display_name"] = titles.get(name, name)
        write("catalog", {name: _trimmed(entry) for name, entry in nodes.items()})
        write("rules", answered(editor, iter(RULES.items())))
        known = ((name, graph) for name, graph in workflows(environments) if is_known(graph, nodes))
        write("templates", answered(editor, known))
    (KEPT / "pins.json").write_text(json.dumps(pins(), indent=1) + "\n")


def is_known(graph: dict[str, Any], nodes: dict[str, Any]) -> bool:
    """True if the catalog has all classes of a workflow that would run."""
    try:
        return all(each.class_type in nodes for each in active_nodes(graph))
    except InvalidGraph:
        return False


def described(environments: Path) -> dict[str, Any]:
    """`nodes` of /object_info, from ComfyUI itself."""
    found = install.installed(environments, DEFAULT)
    assert found is not None
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        script = Path(__file__).parent / "described.py"
        command = [found.python, script, answer, "--cpu", "--base-directory", folder, "--front-end-root", EXTENSION_DIR]
        subprocess.run(command, cwd=found.source, check=True, capture_output=True)
        return dict(json.loads(answer.read_text()))


def _trimmed(entry: dict[str, Any]) -> dict[str, Any]:
    """What conversions read of a class."""
    kept = ("input", "input_order", "output", "display_name", "output_node", "python_module")
    return {key: _without_tooltips(entry[key]) for key in kept if key in entry}


def _without_tooltips(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_tooltips(inner) for key, inner in value.items() if key not in ("tooltip", "hidden")}
        case list():
            return [_without_tooltips(inner) for inner in value]
        case _:
            return value


if __name__ == "__main__":
    make_anew()
