"""ComfyUI's templates, counted: `python -m bench.templates`.

How many convert as in ComfyUI's editor, by its kept answers; and how many a server with the real ComfyUI, without
models or packs of its own, would run as they are, run once their models are there, or not run, and why not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from bench.stack import report, started
from comfyward.api.native.frontend import templates_of
from comfyward.comfy import install
from comfyward.comfy.releases import DEFAULT
from comfyward.dispatch.known_models import TemplateModels
from comfyward.server_settings import default_data_dir
from comfyward.store import catalogs
from comfyward.web.comfyui_templates import ComfyUITemplates
from comfyward.web.template_marks import TemplateNeeds, needs_of
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.noted import CORE_ID, packs_noted
from comfyward.workflows.posted import Posted
from tests.editor import kept
from tests.editor.comparison import converted, differences
from tests.stack.test_workflows_convert_as_in_the_editor import FAULTS

ENVIRONMENTS = default_data_dir() / "environments"
ANSWERS = kept.read("templates")
PARTNERS = "comfy_api_nodes"  # the modules of nodes that call somebody else's paid service


def main() -> None:
    workflows = dict(kept.workflows(ENVIRONMENTS))
    templates = {name: each for name, each in workflows.items() if not name.startswith("blueprints/")}
    report("conversion of templates", Counter(_converted(name, each) for name, each in templates.items()))
    blueprints = Counter(_converted(name, each) for name, each in workflows.items() if name not in templates)
    report("conversion of blueprints", blueprints)
    with started(comfyui_version=DEFAULT.version, editor="false") as stack:
        stack.wait_ready()
        catalog = Catalog.from_json(msgspec.json.decode(stack.write(catalogs.newest) or "{}"))
    folder = templates_of(install.frontend(ENVIRONMENTS, install.TEMPLATE_PINS, _quiet))
    known = asyncio.run(TemplateModels(folder).known())
    shown = {f"templates/{each.name}" for each in ComfyUITemplates(folder).all}
    needs = {name: needs_of(Posted(editor=each), catalog, known) for name, each in templates.items() if name in shown}
    report(
        "templates that lead to no paid service, here",
        Counter(_would(each, templates[name]) for name, each in needs.items()),
    )
    for name, each in needs.items():
        if each.obstacles and not each.classes:
            print(f"  {name}: {each.obstacles[0]}")


def _converted(name: str, workflow: Mapping[str, Any]) -> str:
    made = converted(workflow, kept.catalog())
    if name not in ANSWERS:
        return "has classes that ComfyUI lacks"
    if "sent" not in made:
        return "has a value that only a browser makes"
    if not differences(workflow, made, ANSWERS[name]):
        return "as in the editor"
    return "broken by the editor itself" if name in FAULTS else "DIFFERS"


def _would(needs: TemplateNeeds, workflow: Mapping[str, Any]) -> str:
    partners = [name for name in needs.classes if _module(name).startswith(PARTNERS)]
    if partners:
        return "not: nodes of paid services, which are off"
    if any(_is_newer(each, workflow) for each in needs.classes):
        return f"not: classes of a newer ComfyUI than {DEFAULT.version}"
    if needs.classes:
        return "once packs are there"
    if needs.obstacles:
        return "not: see below"
    return "once its models are there" if needs.models else "runs now"


def _is_newer(class_type: str, workflow: Mapping[str, Any]) -> bool:
    """True for a class that its file calls ComfyUI's own."""
    noted = packs_noted(workflow).get(class_type)
    return noted is not None and noted.cnr_id == CORE_ID


def _module(class_type: str) -> str:
    return str(kept.catalog().nodes.get(class_type, {}).get("python_module", ""))


def _quiet(what: str, fraction: float | None) -> None:
    return


if __name__ == "__main__":
    main()
