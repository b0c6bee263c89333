"""The files of the current run: their digests, the values that name them, and the paths that nodes get for them.

The worker links a run's files under their plain names (`input/face.png`) and sends the digest of each. A node that asks
ComfyUI for the path of a file gets one that differs whenever the bytes differ: `content/<digest>/input/face.png`, where
`content/<digest>` is a link to ComfyUI's folder. So the files beside it are found there too, and a cache keyed by paths
is correct. A node that joins a folder and a name itself finds the file at its plain place.
"""

import os
import re
from collections import defaultdict
from functools import cached_property

import folder_paths

from .folders import NOT_MODELS

BASE = folder_paths.base_path
MODELS = os.path.join(BASE, "models")
CONTENT = os.path.join(os.path.dirname(BASE), "content")
MAX_NAME_LENGTH = 1024
MAX_VALUES = 10_000
EMBEDDING = re.compile(r"embedding:(\S+)")
EMBEDDING_SUFFIXES = ("", ".safetensors", ".pt", ".bin")
_ANNOTATION = re.compile(r" ?\[(input|output|temp)\]$")


class RunFiles:
    """The files of a run: `files` maps a place (an absolute path below the base folder) to a digest."""

    def __init__(self, files):
        self.files = {os.path.join(BASE, path.lstrip("/")): digest for path, digest in files.items()}
        self._named, self._trees = {}, {}

    @cached_property
    def folders(self):
        """Every folder that holds a file of the run, up to input/ and the kinds of models."""
        found = set()
        for place in self.files:
            folder = os.path.dirname(place)
            while folder not in (BASE, MODELS):
                found.add(folder)
                folder = os.path.dirname(folder)
        return found

    @cached_property
    def _places(self):
        """name -> places of the run's files and folders."""
        places = defaultdict(set)
        for place in self.files.keys() | self.folders:
            for name in self.names_of(place):
                places[name].add(place)
        return places

    def names_of(self, place):
        """The names by which a value may refer to a place: relative to input/ or a folder of models, relative to the
        folders above them, and as a whole path."""
        folder = place
        while folder != os.path.dirname(folder):
            name = os.path.relpath(place, folder)
            if folder in self._roots or (folder in (BASE, MODELS) and os.sep in name):
                yield name
            folder = os.path.dirname(folder)
        for path in (place, self.path_of(place), os.path.realpath(place)):
            yield path.lstrip(os.sep)

    @cached_property
    def _roots(self):
        return {os.path.normpath(folder) for folder in _folders()}

    def path_of(self, path):
        """The path by content of a file of the run; any other path unchanged."""
        place = os.path.normpath(path)
        if (digest := self.files.get(place)) is None:
            return path
        name = os.path.relpath(place, BASE)
        # FFmpeg reads "50%.png" as a pattern; the resolved path has no percent sign.
        return os.path.realpath(place) if "%" in name else os.path.join(CONTENT, digest, name)

    def below(self, folder):
        """place -> digest of the run's files below a folder."""
        return {place: digest for place, digest in self.files.items() if place.startswith(folder + os.sep)}

    def tree(self, folder):
        """The identity of all files of the run below a folder."""
        if folder not in self._trees:
            self._trees[folder] = hash(frozenset(self.below(folder).items()))
        return self._trees[folder]

    def identity(self, place):
        """A value that changes with the contents of a place; None if there is no file or folder."""
        if place in self.files:
            return self.files[place]
        if place in self.folders:
            return self.tree(place)
        return _stat(place)

    def named(self, value):
        """place -> identity of every file and folder that a value names, also in nested dicts and lists."""
        found = {}
        for text in texts_in(value):
            if text not in self._named:
                self._named[text] = self._named_by(text)
            found.update(self._named[text])
        return found

    def _named_by(self, text):
        brought = {place for name in _names(text) for place in self._places.get(name, ())} if self.files else set()
        found = {place: self.identity(place) for place in brought}
        # Files of every run, above all the operator's models.
        stats = {path: _stat(path) for path in set(_permanent_paths(text)) - brought}
        return found | {path: stat for path, stat in stats.items() if stat is not None}


current = RunFiles({})


def install():
    """Makes ComfyUI return paths by content."""
    for name in ("get_full_path", "get_annotated_filepath"):
        _return_path_by_content(name)


def begin(files):
    """Starts a run with these files, path -> digest, before its graph is validated."""
    global current
    current = RunFiles(files)
    # ComfyUI caches lists of files by the mtime of their folder, which does not change twice within one clock tick.
    folder_paths.filename_list_cache.clear()


def _return_path_by_content(name):
    original = getattr(folder_paths, name)

    def by_content(*args, **kwargs):
        path = original(*args, **kwargs)
        return path if path is None else current.path_of(path)

    setattr(folder_paths, name, by_content)


def names_in(value):
    """All names that the strings in a value may refer to."""
    return {name for text in texts_in(value) for name in _names(text)}


def _names(text):
    """The names in a string: the string itself, and the embeddings that it mentions."""
    yield os.path.normpath(_ANNOTATION.sub("", text).replace("\\", "/").lstrip("/"))
    yield from _embeddings(text)


def _embeddings(text):
    for mention in EMBEDDING.findall(text):
        stem = os.path.normpath(mention.strip(",()").split(":")[0])
        yield from (stem + suffix for suffix in EMBEDDING_SUFFIXES)


def _permanent_paths(text):
    for name in _embeddings(text):
        yield from (os.path.join(folder, name) for folder in folder_paths.get_folder_paths("embeddings"))
    if len(text) <= MAX_NAME_LENGTH and "\n" not in text:
        name = os.path.normpath(text)
        yield from (os.path.join(folder, name) for folder in _folders(with_suffix=bool(os.path.splitext(name)[1])))


def _folders(*, with_suffix=True):
    """All folders, or without `with_suffix` those that list files without a suffix."""
    yield folder_paths.get_input_directory()
    for kind, (folders, suffixes) in list(folder_paths.folder_names_and_paths.items()):
        if kind not in NOT_MODELS and (with_suffix or not suffixes or {"", "folder"} & {*suffixes}):
            yield from folders


def texts_in(value):
    """The strings in a value and in its nested dicts and lists, MAX_VALUES at most."""
    found, waiting = [], [value]
    while waiting and len(found) < MAX_VALUES:
        match waiting.pop():
            case str() as text if text and "\0" not in text:
                found.append(text)
            case dict() as items:
                waiting.extend([*items.keys(), *items.values()][:MAX_VALUES])
            case list() | tuple() as items:
                waiting.extend(items[:MAX_VALUES])
    return found


def _stat(path):
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return (stat.st_ino, stat.st_mtime_ns, stat.st_size)
