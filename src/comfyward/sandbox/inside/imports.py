"""The libraries that ComfyUI and packs import: read from their sources, none of which is executed.

Only what a pack imports when it is loaded counts: an import in a function is executed later, or never. Where a file
imports others by computed names, all files below its folder count.
"""

from __future__ import annotations

import ast
import itertools
import os
from importlib.machinery import PathFinder
from typing import Collection, Dict, Iterator, List, Sequence, Set, Tuple

FILES_OF_A_PACK = 1000
FILE_BYTES = 2 << 20
NOT_LOADED = {"__pycache__", "node_modules", "web", "js", "tests", "tests-unit", "test", "examples", "docs"}

# Folders of ComfyUI that are data, others' code, or not loaded with the options that it is started with.
NOT_COMFYUI = {"models", "input", "output", "temp", "user", "custom_nodes", "comfy_api_nodes", "script_examples"}
ENVIRONMENTS = {"venv", "env", "python_embeded"}

Import = Tuple[str, Tuple[str, ...]]  # a module, and the names taken from it


def of_all(source: str, folders: Sequence[str], installed: Sequence[str]) -> Dict[str, List[Import]]:
    """For each library that ComfyUI and packs import when they are loaded, the imports of it, in their order.

    A library is what is found in the folders `installed`, and has no name that ComfyUI or a pack has as well.
    """
    packs = [Pack(path) for folder in folders for path in _packs_in(folder)]
    own = {name.partition(".")[0] for name in _names_in(source)}.union(*(pack.names for pack in packs))
    found: Dict[str, List[Import]] = {}
    known: Dict[str, bool] = {}
    for module, names in itertools.chain(_of_comfyui(source), *(pack.imports() for pack in packs)):
        library = module.partition(".")[0]
        if library not in known:
            known[library] = library not in own and _is_installed(library, installed)
        if known[library] and (module, names) not in found.setdefault(library, []):
            found[library].append((module, names))
    return found


def _of_comfyui(source: str) -> Iterator[Import]:
    """The imports of all of its files: it finds many of them by computed names."""
    for path in _files_below(source, NOT_COMFYUI | ENVIRONMENTS):
        yield from _of_file(path)[0]


class Pack:
    """A pack: a folder with `__init__.py`, or one file."""

    def __init__(self, path: str) -> None:
        is_folder = os.path.isdir(path)
        self._first = os.path.join(path, "__init__.py") if is_folder else path
        self._files = set(_files_below(path)) if is_folder else {path}
        self.names = {part.partition(".")[0] for file in self._files for part in _parts(path, file)}

    def imports(self) -> Iterator[Import]:
        """The imports of its files when it is loaded, beginning with the first."""
        waiting, seen = [self._first], {self._first}
        while waiting:
            path = waiting.pop(0)
            absolute, files = _of_file(path)
            yield from absolute
            for file in files:
                if file in self._files and file not in seen:
                    seen.add(file)
                    waiting.append(file)


def _of_file(path: str) -> Tuple[List[Import], List[str]]:
    """The imports of a source file from elsewhere, and files of its own pack that it may import."""
    absolute: List[Import] = []
    files: List[str] = []
    for node in _executed(_parsed(path)):
        if isinstance(node, ast.Import):
            absolute += [(alias.name, ()) for alias in node.names]
        elif node.level == 0:
            absolute.append((node.module or "", tuple(alias.name for alias in node.names if alias.name != "*")))
        else:
            files += _relative(path, node)
    if any(module.partition(".")[0] in ("importlib", "runpy") for module, _ in absolute):
        files += sorted(_files_below(os.path.dirname(path)))
    return absolute, files


def _relative(path: str, node: ast.ImportFrom) -> List[str]:
    folder = os.path.dirname(path)
    for _ in range(node.level - 1):
        folder = os.path.dirname(folder)
    module = os.path.join(folder, *(node.module or "").split("."))
    stems = [module, *(os.path.join(module, alias.name) for alias in node.names)]
    return [file for stem in stems for file in (f"{stem}.py", os.path.join(stem, "__init__.py"))]


def _parsed(path: str) -> ast.Module:
    """The file's syntax tree; an empty one if it cannot be read or parsed, which ComfyUI reports."""
    try:
        if os.path.getsize(path) <= FILE_BYTES:
            with open(path, "rb") as file:
                return ast.parse(file.read())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    return ast.Module(body=[], type_ignores=[])


def _executed(node: ast.AST) -> Iterator[ast.ImportFrom | ast.Import]:
    """The imports that are executed when the module is: not those in functions, nor those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for each in child.orelse:
                yield from _executed(each)
        elif isinstance(child, (ast.stmt, ast.ExceptHandler)) and not _is_function(child):
            yield from _executed(child)


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def _is_installed(library: str, folders: Sequence[str]) -> bool:
    """True if the library is in one of the folders. Nothing of it is executed."""
    try:
        return bool(library) and PathFinder.find_spec(library, list(folders)) is not None
    except (ImportError, ValueError):
        return False


def _packs_in(folder: str) -> List[str]:
    paths = [os.path.join(folder, name) for name in _names_in(folder) if not name.startswith((".", "__"))]
    folders = [path for path in paths if os.path.isfile(os.path.join(path, "__init__.py"))]
    files = [path for path in paths if path.endswith(".py") and os.path.isfile(path)]
    return sorted(path for path in (*folders, *files) if not path.endswith(".disabled"))


def _files_below(folder: str, without: Collection[str] = ()) -> List[str]:
    found: List[str] = []
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_LOADED and name not in without and name[0] != "."]
        found += [os.path.join(path, name) for name in names if name.endswith(".py")]
        if len(found) > FILES_OF_A_PACK:
            break
    return found[:FILES_OF_A_PACK]


def _parts(root: str, file: str) -> Set[str]:
    return set(os.path.relpath(file, os.path.dirname(root)).split(os.sep))


def _names_in(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
