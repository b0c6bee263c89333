"""The models of an account as a list: what they are, what is known of them, and which of them somebody asks for. Pure.

A path stands for one model: the account's own file, else a URL that a run brought, else what an admin shares there,
else what workers have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from urllib.parse import urlsplit, urlunsplit

from comfyward.paths import MODELS_ROOT, folder_and_name
from comfyward.store.models import ModelUse
from comfyward.workflows.model_facts import ModelFacts

ABOUT = "model"  # the key in a file's `about`
BESIDE = ("image/", "text/", "application/json", "video/")
BESIDE_SUFFIXES = (".yaml", ".yml", ".md", ".sha256", ".civitai.info", ".info", ".txt")
DAY_MS = 24 * 3600 * 1000
Origin = Literal["own", "link", "shared", "workers"]
Sort = Literal["name", "size", "used", "added"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)
SORTS: tuple[Sort, ...] = get_args(Sort)


@dataclass(frozen=True)
class Said:
    """The owner's own words on a model; None where the file's own word counts."""

    source: str | None = None
    licence: str | None = None
    architecture: str | None = None
    trigger_words: tuple[str, ...] | None = None
    title: str | None = None

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Said:
        said = about.get(ABOUT)
        known = (
            {name: said[name] for name in cls.__dataclass_fields__ if name in said} if isinstance(said, dict) else {}
        )
        words = known.get("trigger_words")
        return cls(**{**known, "trigger_words": None if words is None else tuple(words)})


NOTHING_SAID, NO_FACTS, NO_USE = Said(), ModelFacts(), ModelUse()


@dataclass(frozen=True)
class Model:
    """One model. `digest`, `size` (bytes) and `added_at` (ms since the epoch) are not known of every origin.

    `is_shared` is true if an admin shares the file that this model is.
    """

    path: str
    origin: Origin
    digest: str = ""
    size: int | None = None
    added_at: int | None = None
    is_shared: bool = False
    said: Said = NOTHING_SAID
    facts: ModelFacts = NO_FACTS
    picture: str = ""
    use: ModelUse = NO_USE
    workflow_count: int = 0
    duplicates: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        return folder_and_name(self.path)[0]

    @property
    def name(self) -> str:
        """Its name as graphs write it: relative to its folder."""
        return folder_and_name(self.path)[1]

    @property
    def architecture(self) -> str:
        return self.facts.architecture if self.said.architecture is None else self.said.architecture

    @property
    def trigger_words(self) -> tuple[str, ...]:
        return self.facts.trigger_words if self.said.trigger_words is None else self.said.trigger_words

    @property
    def licence(self) -> str:
        return self.facts.licence if self.said.licence is None else self.said.licence

    @property
    def title(self) -> str:
        return self.facts.title if self.said.title is None else self.said.title

    @property
    def source(self) -> str:
        return self.said.source or ""

    @property
    def has_preview(self) -> bool:
        return bool(self.picture) or self.facts.has_cover


@dataclass(frozen=True)
class ModelFilter:
    """Selects models. `words` are looked for in all that is known of a model; `unused_days` selects those that no run
    has named for so long, and that were not added since."""

    words: str = ""
    folder: str = ""
    architecture: str = ""
    origin: Origin | None = None
    unused_days: int | None = None
    duplicates: bool = False
    sort: Sort = "name"
    now: int = 0

    def holds(self, model: Model) -> bool:
        if self.folder not in ("", model.folder) or self.origin not in (None, model.origin):
            return False
        if self.architecture and self.architecture.lower() != model.architecture.lower():
            return False
        if (self.duplicates and not model.duplicates) or not self._is_unused(model):
            return False
        texts = (model.path, model.title, model.architecture, model.licence, model.source, *model.trigger_words)
        text = " ".join(texts)
        return all(word in text.lower() for word in self.words.lower().split())

    def place(self, model: Model) -> tuple[int, str]:
        """The place in the list: (a number that falls, path)."""
        match self.sort:
            case "name":
                return 0, model.path
            case "size":
                return model.size or 0, model.path
            case "used":
                return model.use.last_used_at or 0, model.path
            case "added":
                return model.added_at or 0, model.path

    def _is_unused(self, model: Model) -> bool:
        if self.unused_days is None:
            return True
        since = self.now - self.unused_days * DAY_MS
        return max(model.use.last_used_at or 0, model.added_at or 0) < since


@dataclass(frozen=True)
class ModelPage:
    """A part of the models that a filter selects. `next` is the place of its last one, if there are more."""

    models: list[Model]
    total: int
    total_bytes: int
    next: tuple[int, str] | None
    folders: dict[str, int] = field(default_factory=dict)
    architectures: dict[str, int] = field(default_factory=dict)
    unread: int = 0


def page_of(models: Sequence[Model], which: ModelFilter, after: tuple[int, str] | None, limit: int) -> ModelPage:
    """A page of models. Folders and architectures are counted over all of them."""
    found = sorted(filter(which.holds, models), key=lambda model: _order(which.place(model)))
    rest = [model for model in found if after is None or _order(which.place(model)) > _order(after)]
    sizes = {model.digest: model.size or 0 for model in found if model.digest}
    return ModelPage(
        rest[:limit],
        len(found),
        sum(sizes.values()),
        which.place(rest[limit - 1]) if len(rest) > limit else None,
        dict(sorted(Counter(model.folder for model in models).items())),
        dict(sorted(Counter(model.architecture for model in models if model.architecture).items())),
    )


def duplicates(models: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """The paths of each digest that has several, of (path, digest)."""
    by_digest: dict[str, list[str]] = {}
    for path, digest in models:
        if digest:
            by_digest.setdefault(digest, []).append(path)
    return {digest: tuple(sorted(paths)) for digest, paths in by_digest.items() if len(paths) > 1}


def is_model(path: str, content_type: str) -> bool:
    """True for a file in a folder of models that is not what lies beside one: a picture, a text, a configuration."""
    folder, name = folder_and_name(path)
    is_beside = content_type.startswith(BESIDE) or path.lower().endswith(BESIDE_SUFFIXES)
    return path.startswith(MODELS_ROOT) and bool(folder and name) and not is_beside


def pictures_beside(path: str) -> list[str]:
    """The paths at which a model's picture may lie, the best first."""
    stem = without_suffix(path)
    suffixes = ("png", "webp", "jpg", "jpeg", "avif", "gif")
    return [f"{stem}{middle}.{suffix}" for middle in (".preview", "") for suffix in suffixes]


def without_suffix(path: str) -> str:
    return path.rpartition(".")[0] or path


def public_address(url: str) -> str:
    """A URL without what may be secret in it: a name and password, a query."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return ""


def _order(place: tuple[int, str]) -> tuple[int, str]:
    return -place[0], place[1]
