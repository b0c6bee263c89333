"""Gives ComfyUI the folders that packs expect, although the files of runs and of the operator are elsewhere.

- Packs that read `models/` directly find the operator's models there, as links.
- Every kind of models, also those that packs add, is searched below `models/` too, where a run's files are linked.
- A run's files below `input/` are links to a read-only folder.
- A pack that was made to be installed as a package imports itself by its own name.
"""

import contextlib
import os
import sys

import folder_paths

NOT_MODELS = ("custom_nodes", "configs")  # kinds that ComfyUI lists together with those of models


def link_operator_models():
    """Links the contents of the operator's model folders into models/, before packs are imported and read it."""
    for folder in filter(None, os.environ.get("COMFYWARD_MODEL_DIRS", "").split(os.pathsep)):
        _link_tree(folder, folder_paths.models_dir, set())


def make_packs_importable():
    """Adds the folders of packs to the path, behind everything that is installed."""
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path += [path for path in folder_paths.get_folder_paths("custom_nodes") if os.path.abspath(path) != own]


def _link_tree(source, target, above):
    real = os.path.realpath(source)
    if real in above:  # a link to a parent folder
        return
    os.makedirs(target, exist_ok=True)
    with contextlib.suppress(OSError), os.scandir(source) as entries:
        for entry in entries:
            place = os.path.join(target, entry.name)
            if entry.is_dir():
                _link_tree(entry.path, place, above | {real})
            elif not os.path.lexists(place):
                os.symlink(os.path.abspath(entry.path), place)


def add_model_folders():
    """Gives each kind of models a folder below models/. Called after all packs, which add kinds, are loaded."""
    for kind, (paths, suffixes) in list(folder_paths.folder_names_and_paths.items()):
        root = os.path.abspath(folder_paths.models_dir) + os.sep
        if kind not in NOT_MODELS and not any(os.path.abspath(path).startswith(root) for path in paths):
            if not isinstance(paths, list):  # VideoHelperSuite has a tuple, which ComfyUI cannot extend
                folder_paths.folder_names_and_paths[kind] = (list(paths), suffixes)
            folder_paths.add_model_folder_path(kind, os.path.join(folder_paths.models_dir, kind))
    for paths, _ in folder_paths.folder_names_and_paths.values():
        for path in paths:
            with contextlib.suppress(OSError):
                os.makedirs(path, exist_ok=True)


def allow_linked_inputs():
    """Lets inputs be links to `files/`, as those of a run are. Newer ComfyUI refuses inputs that lead out of input/."""
    is_within = getattr(folder_paths, "is_within_directory", None)
    if is_within is None:
        return
    files = os.path.join(os.path.dirname(os.path.realpath(folder_paths.get_input_directory())), "files")

    def is_within_directory(directory, target):
        return is_within(directory, target) or is_within(files, target)

    folder_paths.is_within_directory = is_within_directory
