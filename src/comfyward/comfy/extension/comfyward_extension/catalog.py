"""The catalog: ComfyUI's /object_info, and beside it the model folder behind each input that chooses a file.

ComfyUI does not say which folder a list of names was read from. So each class is asked for its inputs once more while
the function that lists a folder answers with a marked name: the input whose choices hold the mark reads that folder.
"""

import inspect

import comfyui_version
import folder_paths
import nodes
from aiohttp import web
from comfy_api.internal import _ComfyNodeInternal, first_real_override

MARK = "\x00comfyward-folder:"
UPLOADS = ("image_upload", "video_upload", "audio_upload", "file_upload")
NOT_MODELS = ("custom_nodes", "configs")


def add_route(server):
    @server.routes.get("/comfyward/catalog")
    async def get_catalog(request):
        return web.json_response(make_catalog())


def make_catalog():
    folders, unchecked = {}, {}
    for name, class_ in nodes.NODE_CLASS_MAPPINGS.items():
        found = _folders_of(class_)
        if found:
            folders[name] = found
        own = _checks_itself(class_)
        if own:
            unchecked[name] = own
    kinds = [kind for kind in folder_paths.folder_names_and_paths if kind not in NOT_MODELS]
    return {
        "comfyui_version": comfyui_version.__version__,
        "folders": folders,
        "unchecked": unchecked,
        "models": {kind: folder_paths.get_filename_list(kind) for kind in kinds},
    }


def _folders_of(class_):
    try:
        with _marked_lists():
            sections = class_.INPUT_TYPES()
    except Exception:
        return {}
    found = {}
    for section in ("required", "optional"):
        for name, spec in (sections.get(section) or {}).items():
            folder = _folder_of(spec)
            if folder:
                found[name] = folder
    return found


def _folder_of(spec):
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    if any(options.get(upload) for upload in UPLOADS):
        return "input"
    choices = spec[0] if isinstance(spec[0], (list, tuple)) else options.get("options")
    for choice in choices or ():
        if isinstance(choice, str) and choice.startswith(MARK):
            return choice[len(MARK) :]
    return None


class _marked_lists:
    def __enter__(self):
        self._real = folder_paths.get_filename_list
        folder_paths.get_filename_list = lambda kind: [MARK + folder_paths.map_legacy(kind)]

    def __exit__(self, *exception):
        folder_paths.get_filename_list = self._real


def _checks_itself(class_):
    """The inputs that a class validates by its own code, where ComfyUI skips its checks."""
    if issubclass(class_, _ComfyNodeInternal):
        check = first_real_override(class_, "validate_inputs")
    else:
        check = getattr(class_, "VALIDATE_INPUTS", None)
    if check is None:
        return []
    spec = inspect.getfullargspec(check)
    return ["*"] if spec.varkw else [name for name in spec.args if name not in ("cls", "self", "s")]
