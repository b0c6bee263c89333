"""The catalog: facts that ComfyUI's /object_info lacks, in the format of workflows/catalog.py.

It is made once, before the first graph: afterwards the folders hold the files of runs.
"""

import inspect
import json
import operator
import sys

import comfyui_version
import execution
import folder_paths
import nodes
from aiohttp import web
from comfy_api.internal import _ComfyNodeInternal, first_real_override
from server import PromptServer

from .folders import NOT_MODELS
from .probes import DescriptionReads, Probes, relative

UPLOADS = ("image_upload", "video_upload", "audio_upload", "file_upload")
UNUSED_TYPE = "COMFYWARD_UNUSED_TYPE"

loading = sys.modules["comfyward_loading"]  # loaded by prestartup_script.py, before any node

_made = None


def add_route(server):
    @server.routes.get("/comfyward/catalog")
    async def get_catalog(request):
        global _made
        if _made is None:
            _made = await make_catalog()
        return web.json_response(_made)


async def make_catalog():
    kinds = _kinds()
    models = {kind: folder_paths.get_filename_list(kind) for kind in kinds}
    classes = {name: _Description(class_) for name, class_ in nodes.NODE_CLASS_MAPPINGS.items()}
    with Probes() as probes:
        listings = {name: described.listings(probes) for name, described in classes.items()}
    named = {kind: [each[0] for each in found] for kind, found in kinds.items()}
    return {
        "comfyui_version": comfyui_version.__version__,
        "folders": _filled({name: each.folders(listings[name], named) for name, each in classes.items()}),
        "unchecked": _filled({name: each.unchecked() for name, each in classes.items()}),
        "models": models,
        "kinds": kinds,
        "listings": _filled(listings),
        "follows": _filled({name: each.follows(listings[name]) for name, each in classes.items()}),
        "open_types": _filled({name: each.open_types() for name, each in classes.items()}),
        "checks_combos": await _checks_combos(),
        "replacements": _replacements(),
        "failures": [*_loading_failures(), *(each.failure(name) for name, each in classes.items() if each.error)],
    }


def _filled(found):
    return {name: value for name, value in found.items() if value}


def _replacements():
    """class that is gone -> those that replace it, as GET /node_replacements has them; none in old releases."""
    known = getattr(getattr(PromptServer, "instance", None), "node_replace_manager", None)
    try:
        return {} if known is None else json.loads(json.dumps(known.as_dict()))
    except (TypeError, ValueError):
        return {}  # a pack gave what is no JSON


def _kinds():
    """kind of models -> the listings of its folders."""
    return {
        kind: [[folder, "name", "", "", _suffixes(suffixes)] for folder in filter(None, map(relative, paths))]
        for kind, (paths, suffixes) in folder_paths.folder_names_and_paths.items()
        if kind not in NOT_MODELS
    }


def _suffixes(suffixes):
    """None if ComfyUI does not filter by suffix."""
    return sorted(suffixes) if suffixes and all(each.startswith(".") for each in suffixes) else None


class _Description:
    """A node class's description of itself."""

    def __init__(self, class_):
        self._class, self.error, self._inputs = class_, None, {}
        with DescriptionReads() as reads:
            try:
                self._inputs = _inputs_of(class_)
            except Exception as error:
                self.error = error
        self._reads = reads.directories

    def listings(self, probes):
        """input -> the listings of files that it offers; an input of a choice is `choice.input`."""
        try:
            inputs = _inputs_of(self._class)
        except Exception:
            return {}  # it fails to read a probe that it lists; the folders that it reads are known
        found = {name: probes.listings(texts) for spec in inputs.items() for name, texts in _choices(*spec)}
        return _filled(found)

    def folders(self, listings, kinds):
        """input -> the name of the folder whose files it offers."""
        found = {name: _name_of([each[0] for each in listed], kinds) for name, listed in listings.items()}
        uploads = (name for name, spec in self._inputs.items() if any(_options(spec).get(each) for each in UPLOADS))
        return {**found, **dict.fromkeys(uploads, "input")}

    def follows(self, listings):
        """The folders that it reads for its inputs, but whose files it does not list."""
        shown = {each[0] for listed in listings.values() for each in listed}
        return sorted(
            folder
            for folder in self._reads
            if not any(folder == each or folder.startswith(each + "/") for each in shown)
        )

    def unchecked(self):
        """The inputs that ComfyUI does not check: those checked by the class itself, and those whose list of choices is
        not a plain list."""
        if issubclass(self._class, _ComfyNodeInternal):
            check = first_real_override(self._class, "validate_inputs")
        else:
            check = getattr(self._class, "VALIDATE_INPUTS", None)
        odd = [name for name, spec in self._inputs.items() if type(spec[0]) is not list and not _is_str(spec[0])]
        if check is None:
            return odd
        spec = inspect.getfullargspec(check)
        return ["*"] if spec.varkw else [name for name in spec.args if name not in ("cls", "self", "s")] + odd

    def open_types(self):
        """Inputs and outputs whose type equals any other; an endless tuple of outputs counts as one."""
        inputs = [name for name, spec in self._inputs.items() if _meets_any(spec[0])]
        outputs = getattr(self._class, "RETURN_TYPES", ())
        is_open = any(_meets_any(each) for each in outputs) or _has_any_slot(outputs)
        return {"inputs": inputs, "outputs": is_open} if inputs or is_open else {}

    def failure(self, name):
        return {"name": name, "kind": "class", **loading.described(self.error), "classes": [name]}


def _inputs_of(class_):
    sections = class_.INPUT_TYPES()
    specs = [spec for section in ("required", "optional") for spec in (sections.get(section) or {}).items()]
    return {name: spec for name, spec in specs if isinstance(spec, (list, tuple)) and len(spec) > 0}


def _options(spec):
    return spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}


def _choices(name, spec):
    """(input, strings in its description) for an input and for the inputs of its choices."""
    texts, waiting = [], list(spec)
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            for section in ("required", "optional"):
                for inner, inner_spec in ((value.get("inputs") or {}).get(section) or {}).items():
                    yield from _choices(f"{name}.{inner}", inner_spec)
            waiting += [inner for key, inner in value.items() if key not in ("inputs", "template")]
        elif isinstance(value, (list, tuple)):
            waiting += value
    yield name, texts


def _name_of(folders, kinds):
    """ComfyUI's kind for a set of folders, preferably one named like a folder among them; else a folder's own name."""
    if "input" in folders:
        return "input"
    short = [folder.partition("/")[2] for folder in folders]
    same = [kind for kind, read in kinds.items() if set(read) == set(folders)]
    partly = [kind for kind, read in kinds.items() if folders[0] in read]
    ranked = [kind for kind in same if kind in short] + same + [kind for kind in partly if kind in short] + partly
    return (ranked or short)[0]


def _is_str(type_):
    return isinstance(type_, str)


def _meets_any(type_):
    """True if ComfyUI's comparison finds the type equal to any other."""
    if isinstance(type_, (list, tuple)):
        return False
    return not operator.ne(type_, UNUSED_TYPE) or not operator.ne(UNUSED_TYPE, type_)


def _has_any_slot(outputs):
    try:
        return outputs[10_000] is not None
    except Exception:
        return False


async def _checks_combos():
    """True if this ComfyUI compares values with the choices of a COMBO, tried with a class that has one."""

    class HasCombo:
        FUNCTION, RETURN_TYPES, CATEGORY = "run", (), ""

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"choice": ("COMBO", {"options": ["yes"]})}}

    nodes.NODE_CLASS_MAPPINGS["comfyward-combo"] = HasCombo
    prompt = {"1": {"class_type": "comfyward-combo", "inputs": {"choice": "no"}}}
    try:
        return (await execution.validate_inputs("comfyward", prompt, "1", {}))[0] is False
    except Exception:
        return False
    finally:
        del nodes.NODE_CLASS_MAPPINGS["comfyward-combo"]


def _loading_failures():
    known = set(nodes.NODE_CLASS_MAPPINGS)
    return [{**each, "classes": [name for name in each["classes"] if name not in known]} for each in loading.failures]
