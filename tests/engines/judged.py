"""Run by ComfyUI's own python, in its folder: writes graphs made at random from every class, with ComfyUI's verdict.

    python judged.py EXTENSION PACKS ANSWER --cpu --base-directory FOLDER

The answer is JSON: {"catalog": what a worker exports, "files": [paths that a run brought], "cases": [[graph, taken]]}.
"""

import asyncio
import copy
import importlib.util
import json
import os
import random
import sys
from pathlib import Path

EXTENSION, PACKS, ANSWER = map(Path, sys.argv[1:4])
sys.argv = [str(Path("main.py").absolute()), *sys.argv[4:]]
sys.path.insert(0, os.getcwd())

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import folder_paths  # noqa: E402
import utils.extra_config  # noqa: E402, F401  before `nodes` puts another `utils` in its way

GRAPHS_PER_CLASS = 14
FILES = (
    "input/mine.png",
    "input/set/a.png",
    "models/loras/mine.safetensors",
    "models/unet/mine.sft",
    "models/vae/a.pt",
)


def run_file(path):
    spec = importlib.util.spec_from_file_location("prestartup", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


async def main():
    run_file(EXTENSION / "prestartup_script.py")
    import nodes
    import server

    prompt_server = server.PromptServer(asyncio.get_running_loop())
    await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
    for pack in (EXTENSION, PACKS / "takes_anything", PACKS / "lists_models"):
        await nodes.load_custom_node(str(pack))
    extension = sys.modules[str(EXTENSION).replace(".", "_x_")]
    extension.folders.add_model_folders()
    catalog = await extension.catalog.make_catalog()
    [info] = [route for route in prompt_server.routes if getattr(route, "path", "") == "/object_info"]
    catalog["nodes"] = json.loads((await info.handler(None)).text)
    for name in FILES:
        path = Path(folder_paths.base_path) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    cases = await judged(nodes.NODE_CLASS_MAPPINGS)
    ANSWER.write_text(json.dumps({"catalog": catalog, "files": [f"/{name}" for name in FILES], "cases": cases}))


async def judged(classes):
    import execution

    described = {name: inputs_of(class_) for name, class_ in list(classes.items())}
    types = sorted({str(output) for class_ in classes.values() for output in getattr(class_, "RETURN_TYPES", ())})
    dice, cases = random.Random(10), []
    known = [name for name in sorted(classes) if described[name] is not None]
    givers = {type_: giver_of(type_, classes) for type_ in types}
    for name in known:
        for number in range(GRAPHS_PER_CLASS):
            graph = made(name, described[name], classes, givers, dice, oddities=number % 3)
            if graph is not None:
                taken = await execution.validate_prompt(*arguments_of(execution, copy.deepcopy(graph)))
                cases.append([graph, taken[0] and not taken[3]])
    for graph in matched(described, classes, givers):
        taken = await execution.validate_prompt(*arguments_of(execution, copy.deepcopy(graph)))
        cases.append([graph, taken[0] and not taken[3]])
    return cases


def matched(described, classes, givers):
    """Graphs in which a node that passes any type on is given each type, and gives one to each class with one input.

    Types say nothing about links from and to such a node.
    """
    if "ComfySwitchNode" not in classes:
        return
    takers = {
        str(spec[0]): (name, input_name)
        for name, inputs in described.items()
        for (section, input_name), spec in (inputs or {}).items()
        if section == "required" and sum(each == "required" for each, _ in inputs) == 1
        if getattr(classes[name], "RETURN_TYPES", ())
    }
    for given, taker in [(each, None) for each in sorted(givers)] + [("IMAGE", each) for each in takers.values()]:
        graph = {}
        value = link(given, graph, givers)
        graph["1"] = {"class_type": "ComfySwitchNode", "inputs": {"switch": True, "on_true": value, "on_false": value}}
        graph["9"] = {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}
        if taker is not None:
            graph["8"] = {"class_type": taker[0], "inputs": {taker[1]: ["1", 0]}}
            graph["9"]["inputs"]["source"] = ["8", 0]
        yield graph


def arguments_of(execution, graph):
    arguments = {"prompt_id": "judged", "prompt": graph, "partial_execution_list": None}
    names = execution.validate_prompt.__code__.co_varnames[: execution.validate_prompt.__code__.co_argcount]
    return [arguments[name] for name in names]


def inputs_of(class_):
    try:
        sections = class_.INPUT_TYPES()
    except Exception:
        return None
    return {
        (section, name): spec
        for section in ("required", "optional")
        for name, spec in (sections.get(section) or {}).items()
    }


def giver_of(type_, classes):
    """A class that can be linked to, without inputs that must be given: its first output of the type."""
    for name, class_ in sorted(classes.items()):
        outputs = [str(output) for output in getattr(class_, "RETURN_TYPES", ())]
        described = inputs_of(class_) if type_ in outputs else None
        if described is not None and not any(section == "required" for section, _ in described):
            return name, outputs.index(type_)
    return None


def made(name, described, classes, givers, dice, oddities):
    """A graph with one node of a class, whatever gives to it, and a node that shows its output if it saves nothing."""
    graph = {}
    node = graph["1"] = {"class_type": name, "inputs": {}}
    odd = set(dice.sample(sorted(described), min(oddities, len(described))))
    for key, spec in sorted(described.items()):
        section, input_name = key
        if section == "optional" and dice.random() < 0.5 and key not in odd:
            continue
        give(node["inputs"], input_name, spec, graph, givers, dice, is_odd=key in odd)
    if not getattr(classes[name], "OUTPUT_NODE", False):
        outputs = [str(output) for output in getattr(classes[name], "RETURN_TYPES", ())]
        if not outputs:
            return None
        graph["9"] = {"class_type": "PreviewAny", "inputs": {"source": ["1", dice.randrange(len(outputs))]}}
    if oddities == 2 and dice.random() < 0.5:
        node["inputs"]["not declared"] = dice.choice([["7", 0], 5, "x", {"a": ["1", 0]}])
    return graph


def give(inputs, name, spec, graph, givers, dice, is_odd):
    type_, options = spec[0], spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    if is_odd:
        value = dice.choice(
            ["leave out", None, "", "odd", 5, -1, "5", 2.7, True, 1e12, {}, ["1", 7], [1, 2, 3], "x.png"]
        )
        if value != "leave out":
            inputs[name] = link(dice.choice(sorted(givers)), graph, givers) if value == -1 else value
        return
    if str(type_).startswith("COMFY_AUTOGROW"):
        for inner, inner_spec in grown(options, dice):
            give(inputs, f"{name}.{inner}", inner_spec, graph, givers, dice, is_odd=False)
    elif str(type_).startswith("COMFY_DYNAMICCOMBO"):
        chosen = dice.choice(options["options"])
        inputs[name] = chosen["key"]
        for section in ("required", "optional"):
            for inner, inner_spec in (chosen["inputs"].get(section) or {}).items():
                give(inputs, f"{name}.{inner}", inner_spec, graph, givers, dice, is_odd=False)
    else:
        inputs[name] = value_of(type_, options, graph, givers, dice)


def grown(options, dice):
    template = options["template"]
    [(_, inner)] = [(section, specs) for section, specs in template["input"].items() if specs][:1]
    spec = next(iter(inner.values()))
    names = template.get("names") or [f"{template['prefix']}{number}" for number in range(template["max"])]
    return [(each, spec) for each in names[: max(template["min"], dice.randint(0, 2))]]


def value_of(type_, options, graph, givers, dice):
    choices = type_ if isinstance(type_, list) else options.get("options") if type_ == "COMBO" else None
    if choices:
        return dice.choice(choices)
    match str(type_):
        case "INT" | "FLOAT":
            return dice.choice([options.get("default", 1), str(options.get("default", 1)), options.get("min", 1)])
        case "STRING":
            return dice.choice(["a text", 7, 1.5, True])
        case "BOOLEAN":
            return dice.choice([True, 0, "no"])
        case wanted:
            fitting = [each for each in givers if set(each.split(",")) & set(wanted.split(","))] or ["*"]
            return link(dice.choice(sorted(fitting)), graph, givers)


def link(type_, graph, givers):
    """To a node that needs nothing where there is one, else to one that is declared wrong or right as ComfyUI says."""
    giver = givers.get(type_) or ("TestAnySource", 0)
    node_id = str(10 + len(graph))
    graph[node_id] = {"class_type": giver[0], "inputs": {}}
    return [node_id, giver[1]]


asyncio.run(main())
os._exit(0)  # packs may have left threads
