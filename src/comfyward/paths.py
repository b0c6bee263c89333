"""The roots of the paths by which accounts, runs and graphs name files, and the paths of models below theirs."""

from __future__ import annotations

INPUT_ROOT = "/input/"
MODELS_ROOT = "/models/"
OUTPUT_ROOT = "/output/"


def model_path(model: str) -> str:
    """The path of a model that is given as FOLDER/NAME, or as its path.

    >>> model_path("loras/deep/a.safetensors")
    '/models/loras/deep/a.safetensors'
    """
    return MODELS_ROOT + model.removeprefix(MODELS_ROOT)


def model_at(path: str) -> str:
    """The model at a path as people write it, FOLDER/NAME.

    >>> model_at("/models/loras/deep/a.safetensors")
    'loras/deep/a.safetensors'
    """
    return path.removeprefix(MODELS_ROOT)


def folder_and_name(path: str) -> tuple[str, str]:
    """The folder of the model at a path, and its name there.

    >>> folder_and_name("/models/loras/deep/a.safetensors")
    ('loras', 'deep/a.safetensors')
    """
    folder, _, name = model_at(path).partition("/")
    return folder, name
