"""Run by ComfyUI before it imports nodes: starts recording load failures, and prepares folders of packs and models."""

import importlib.util
import os
import sys


def _load(name):
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"comfyward_{name}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_load("loading").record_failures()
_folders = _load("folders")
_folders.link_operator_models()
_folders.make_packs_importable()
