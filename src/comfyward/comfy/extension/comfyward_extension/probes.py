"""Which files each input offers, and under which texts: seen, not guessed.

ComfyUI does not say which folder a list of names was read from, and packs make lists of their own: of several folders,
of names without their suffix, of `os.listdir`. So files that hold nothing are put into every folder below `models/` and
`input/`, each class is asked for its inputs, and a choice that holds the name of such a probe tells its folder and how
the text is made of the name. The probes are gone before anybody runs a graph.
"""

import contextlib
import os
import re
import sys

import folder_paths

PROBE = "cwprobe"
MAX_FOLDERS = 500
# Suffixes that lists are filtered by, beside those that ComfyUI's folders have. A list that passes only others is not
# recognised, and left to ComfyUI when a run brings files there.
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
# Folder, suffix; q: a file in the folder itself, i: a file in a folder below it.
_FOUND = re.compile(PROBE + r"(\d+)s(\d+)([qi])", re.IGNORECASE)
_FOLDER_FOUND = re.compile(PROBE + r"(\d+)f(?![\w/\\])", re.IGNORECASE)


class Probes:
    """The probes, while they lie there."""

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
                    if suffix in USUAL_SUFFIXES:  # one tells whether a list goes down into folders
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
        """What the choices of an input tell: [[folder, part, before, after, suffixes]], as workflows/listing.py."""
        ways, recursive = {}, {}
        for text in texts:
            if match := _FOLDER_FOUND.search(text):
                folder = self.folders[int(match[1])]
                ways.setdefault((folder, "folder", text[: match.start()], text[match.end() :]), set())
            elif match := _FOUND.search(text):
                folder, part, before, after, suffix = self._way(text, match)
                if match[3].lower() == "i":
                    recursive[folder] = "base" not in part
                else:
                    ways.setdefault((folder, part, before, after), set()).add(suffix)
        return self._without_repetitions(
            [
                folder,
                _part(part, recursive.get(folder, True)),
                before,
                after,
                self._filter(folder, part, suffixes),
            ]
            for (folder, part, before, after), suffixes in sorted(ways.items())
        )

    def _way(self, text, match):
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
        """A list that goes down into folders shows the folders below too."""
        found = sorted(listings, key=lambda each: each[0].count("/"))
        return [each for each in found if not any(_is_below(each, other) for other in found if other is not each)]


def _part(part, is_recursive):
    """A list of names without their folders is told by a file below."""
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
    """A path below models/ or input/ as `models/loras`; None for another."""
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
    """Which folders and files a class reads to describe its inputs: "*" for one that is neither a model nor an input.

    Seen by Python's audit hook: the kernel (see `reads`) would have to be told beforehand where to look.
    """

    _watching = None  # an audit hook cannot be taken away: there is one

    def __init__(self):
        self.directories = set()
        self._is_inside_list = False

    def __enter__(self):
        if DescriptionReads._watching is None:
            sys.addaudithook(_audit)
        DescriptionReads._watching = self
        self._real = folder_paths.cached_filename_list_, folder_paths.get_filename_list_
        folder_paths.cached_filename_list_, folder_paths.get_filename_list_ = self._cached, self._listed
        return self

    def __exit__(self, *exception):
        folder_paths.cached_filename_list_, folder_paths.get_filename_list_ = self._real
        DescriptionReads._watching = False

    def saw(self, path):
        if self._is_inside_list or not isinstance(path, (str, bytes, os.PathLike)):
            return
        path = os.fsdecode(path)
        if path.endswith((".py", ".pyc", ".so")) or path.startswith(("/proc/", "/dev/")):
            return
        self.directories.add(relative(path) or "*")

    def _cached(self, kind):
        paths, _ = folder_paths.folder_names_and_paths.get(folder_paths.map_legacy(kind), ((), ()))
        self.directories.update(filter(None, map(relative, paths)))
        return self._real[0](kind)

    def _listed(self, kind):
        self._is_inside_list = True
        try:
            return self._real[1](kind)
        finally:
            self._is_inside_list = False


def _audit(event, arguments):
    if DescriptionReads._watching and event in ("open", "os.listdir", "os.scandir"):
        DescriptionReads._watching.saw(arguments[0])
