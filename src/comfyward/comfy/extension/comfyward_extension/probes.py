"""Finds the files that each input offers, and how its choices are spelled, by observation.

ComfyUI does not tell which folder a list of names was read from, and packs make lists of their own: from several
folders, from names without suffixes, from `os.listdir`. So empty files, the probes, are created in every folder below
`models/` and `input/`, and each class is asked for its inputs. A choice that contains the name of a probe reveals its
folder, and how the choice is spelled. The probes are removed before the first graph runs.
"""

import contextlib
import os
import re
import sys

import folder_paths

PROBE = "cwprobe"
MAX_FOLDERS = 500
# Suffixes that lists are filtered by, in addition to those of ComfyUI's folders. A list of only other suffixes is not
# recognised, and ComfyUI alone checks its values when a run brings files there.
MODEL_SUFFIXES = (
    *(".gguf", ".onnx", ".engine", ".torchscript", ".model", ".npz", ".json", ".yaml", ".txt", ".tflite", ".task"),
    *(".h5", ".zip", ".cube", ".ttf", ".otf"),
)
INPUT_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".exr", ".hdr", ".svg", ".psd", ".avif"),
    *(".apng", ".heic", ".heif", ".ico", ".jfif", ".jp2", ".tga", ".ppm", ".mpg", ".mpeg", ".ogv", ".3gp", ".aiff"),
    *(".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac"),
    *(".latent", ".obj", ".glb", ".gltf", ".fbx", ".stl", ".ply", ".splat", ".spz", ".ksplat", ".usdz", ".csv", ".pdf"),
    *(".txt", ".json", ".md", ".pkl", ".pt", ".npy", ".npz", ".safetensors", ".zip", ".srt", ".cube", ".yaml"),
)
USUAL_SUFFIXES = (".safetensors", ".png")
# Indexes of the folder and suffix; q: a file in the folder itself, i: a file in a subfolder.
_FOUND = re.compile(PROBE + r"(\d+)s(\d+)([qi])", re.IGNORECASE)
_FOLDER_FOUND = re.compile(PROBE + r"(\d+)f(?![\w/\\])", re.IGNORECASE)


class Probes:
    """The probes, which exist during the block."""

    def __init__(self):
        self.folders = _folders()
        models = {suffix.lower() for _, suffixes in folder_paths.folder_names_and_paths.values() for suffix in suffixes}
        models = sorted({*(suffix for suffix in models if suffix.startswith(".")), *MODEL_SUFFIXES})
        self.suffixes = {folder: INPUT_SUFFIXES if folder == "input" else models for folder in self.folders}
        self._made = []

    def __enter__(self):
        for index, folder in enumerate(self.folders):
            below = os.path.join(_absolute(folder), f"{PROBE}{index}f")
            with contextlib.suppress(OSError):
                os.mkdir(below)
                self._made.append(below)
                for number, suffix in enumerate(self.suffixes[folder]):
                    self._make(os.path.join(_absolute(folder), f"{PROBE}{index}s{number}q{suffix}"))
                    if suffix in USUAL_SUFFIXES:  # one is enough to see whether a list is recursive
                        self._make(os.path.join(below, f"{PROBE}{index}s{number}i{suffix}"))
        folder_paths.filename_list_cache.clear()
        return self

    def _make(self, path):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        self._made.append(path)

    def __exit__(self, *exception):
        for path in reversed(self._made):
            with contextlib.suppress(OSError):
                os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
        folder_paths.filename_list_cache.clear()

    def listings(self, texts):
        """The listings that the choices of an input reveal: [[folder, part, before, after, suffixes]].

        (See workflows/listing.py.)
        """
        spellings, recursive = {}, {}
        for text in texts:
            if match := _FOLDER_FOUND.search(text):
                folder = self.folders[int(match[1])]
                spellings.setdefault((folder, "folder", text[: match.start()], text[match.end() :]), set())
            elif match := _FOUND.search(text):
                folder, part, before, after, suffix = self._spelling(text, match)
                if match[3].lower() == "i":
                    recursive[folder] = "base" not in part
                else:
                    spellings.setdefault((folder, part, before, after), set()).add(suffix)
        return self._without_repetitions(
            [
                folder,
                _part(part, recursive.get(folder, True)),
                before,
                after,
                self._filter(folder, part, suffixes),
            ]
            for (folder, part, before, after), suffixes in sorted(spellings.items())
        )

    def _spelling(self, text, match):
        folder = self.folders[int(match[1])]
        suffix = self.suffixes[folder][int(match[2])]
        before, after = text[: match.start()], text[match.end() :]
        has_suffix = after.lower().startswith(suffix)
        inside = re.compile(PROBE + match[1] + r"f[/\\]$", re.IGNORECASE).search(before)
        part = ("" if match[3] == "q" or inside else "base ") + ("name" if has_suffix else "stem")
        return folder, part, before, after[len(suffix) :] if has_suffix else after, suffix

    def _filter(self, folder, part, suffixes):
        is_any = not suffixes or (part.endswith("name") and len(suffixes) == len(self.suffixes[folder]))
        return None if is_any else sorted(suffixes)

    def _without_repetitions(self, listings):
        """The listings without those that a recursive listing of a parent folder includes."""
        found = sorted(listings, key=lambda each: each[0].count("/"))
        return [each for each in found if not any(_is_below(each, other) for other in found if other is not each)]


def _part(part, is_recursive):
    """`part`, or its variant for names without folders."""
    if is_recursive or part == "folder":
        return part
    return {"name": "base", "stem": "base stem"}[part]


def _is_below(each, other):
    folder, part, before, after, suffixes = each
    inside = folder.removeprefix(other[0] + "/")
    same = [part, after, suffixes] == [other[1], *other[3:]]
    return same and inside != folder and before == f"{other[2]}{inside}/"


def _folders():
    """input/, and every folder below models/."""
    walked = [relative(folder) for folder, _, _ in os.walk(folder_paths.models_dir)]
    return ["input", *sorted(folder for folder in walked if folder and folder != "models")[:MAX_FOLDERS]]


def relative(path):
    """A path below models/ or input/ as in `models/loras`; None for any other."""
    path = os.path.abspath(path)
    for name, root in (("models", folder_paths.models_dir), ("input", folder_paths.get_input_directory())):
        root = os.path.abspath(root)
        if path == root or path.startswith(root + os.sep):
            return (name + path[len(root) :]).replace(os.sep, "/")
        if os.path.realpath(root) != root and path.startswith(os.path.realpath(root) + os.sep):
            return (name + path[len(os.path.realpath(root)) :]).replace(os.sep, "/")
    return None


def _absolute(folder):
    root, _, inside = folder.partition("/")
    return os.path.join(folder_paths.models_dir if root == "models" else folder_paths.get_input_directory(), inside)


class DescriptionReads:
    """The folders and files that a class reads in the block to describe its inputs; "*" stands for all others.

    Observed by Python's audit hook: for inotify (see `reads`) the folders would have to be known beforehand.
    """

    _active = None  # False between blocks: an audit hook cannot be removed, so it is added once

    def __init__(self):
        self.directories = set()
        self._is_inside_list = False
        self._original = folder_paths.cached_filename_list_, folder_paths.get_filename_list_

    def __enter__(self):
        if DescriptionReads._active is None:
            sys.addaudithook(_audit)
        DescriptionReads._active = self
        folder_paths.cached_filename_list_, folder_paths.get_filename_list_ = self._cached, self._listed
        return self

    def __exit__(self, *exception):
        folder_paths.cached_filename_list_, folder_paths.get_filename_list_ = self._original
        DescriptionReads._active = False

    def record(self, path):
        if self._is_inside_list or not isinstance(path, (str, bytes, os.PathLike)):
            return
        path = os.fsdecode(path)
        if path.endswith((".py", ".pyc", ".so")) or path.startswith(("/proc/", "/dev/")):
            return
        self.directories.add(relative(path) or "*")

    def _cached(self, kind):
        paths, _ = folder_paths.folder_names_and_paths.get(folder_paths.map_legacy(kind), ((), ()))
        self.directories.update(filter(None, map(relative, paths)))
        return self._original[0](kind)

    def _listed(self, kind):
        self._is_inside_list = True
        try:
            return self._original[1](kind)
        finally:
            self._is_inside_list = False


def _audit(event, arguments):
    if DescriptionReads._active and event in ("open", "os.listdir", "os.scandir"):
        DescriptionReads._active.record(arguments[0])
