"""ComfyUI's folders as packs expect them, although the files of a run and of the operator lie elsewhere.

- Packs that read `models/` by themselves find the operator's models there, as links.
- Every kind of models, those that packs add included, is searched below `models/` too: a run's files come there.
- A run's files are links below `input/` to a folder that nobody here can write to.
"""

import contextlib
import os

import folder_paths

NOT_MODELS = ("custom_nodes", "configs")  # kinds of folders that ComfyUI keeps beside those of models


def link_operators_models():
    """Links what the operator's model folders hold into models/; before packs are imported, which may look at once."""
    for folder in filter(None, os.environ.get("COMFYWARD_MODEL_DIRS", "").split(os.pathsep)):
        _link_tree(folder, folder_paths.models_dir, set())


def _link_tree(source, target, above):
    real = os.path.realpath(source)
    if real in above:  # a link that leads back up
        return
    os.makedirs(target, exist_ok=True)
    with contextlib.suppress(OSError), os.scandir(source) as entries:
        for entry in entries:
            place = os.path.join(target, entry.name)
            if entry.is_dir():
                _link_tree(entry.path, place, above | {real})
            elif not os.path.lexists(place):
                os.symlink(os.path.abspath(entry.path), place)


def give_each_kind_a_folder():
    """Called when every pack is loaded: packs add kinds whose only folder is their own, where no run's file can be."""
    for kind, (paths, _) in list(folder_paths.folder_names_and_paths.items()):
        root = os.path.abspath(folder_paths.models_dir) + os.sep
        if kind not in NOT_MODELS and not any(os.path.abspath(path).startswith(root) for path in paths):
            folder_paths.add_model_folder_path(kind, os.path.join(folder_paths.models_dir, kind))
    for paths, _ in folder_paths.folder_names_and_paths.values():
        for path in paths:
            with contextlib.suppress(OSError):
                os.makedirs(path, exist_ok=True)


def let_inputs_be_links():
    """Newer ComfyUI refuses an input that leads out of input/; those of a run lead to `files/`, which is read-only."""
    is_within = getattr(folder_paths, "is_within_directory", None)
    if is_within is None:
        return
    files = os.path.join(os.path.dirname(os.path.realpath(folder_paths.get_input_directory())), "files")

    def is_within_directory(directory, target):
        return is_within(directory, target) or is_within(files, target)

    folder_paths.is_within_directory = is_within_directory
