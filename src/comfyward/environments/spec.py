"""An operator's description of an environment: short, and loose where the lock is exact. Written in TOML.

comfyui = "0.30.0"
cutoff = "2026-11-20"        # packages uploaded later are ignored
egress = ["api.example.com"] # hosts that ComfyUI may reach; none by default (see `egress`)

[[pack]]
source = "cnr:comfyui-kjnodes@1.4.2"
web = true                   # its scripts may run in the editor

[packages]
more = ["matplotlib"]        # in addition to what ComfyUI and the packs ask for
force = ["numpy>=2"]         # in place of what they ask for
prefer = ["einops==0.8.1"]   # used where nothing excludes it

[[file]]                     # weights that a pack wants (see `weights`)
path = "models/insightface/inswapper_128.onnx"
url = "https://example.com/inswapper_128.onnx"
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement
from packaging.utils import canonicalize_name

from comfyward.environments import weights
from comfyward.environments.egress import parse_egress
from comfyward.environments.source import ComfyUISource, Git, PackSource, parse_comfyui, parse_pack
from comfyward.environments.untrusted_texts import parse_requirement, toml_table
from comfyward.environments.weights import Weights, check_places, parse_weights
from comfyward.errors import InvalidEnvironment
from comfyward.wording import did_you_mean

KEYS, PACK_KEYS = ("comfyui", "cutoff", "egress", "pack", "packages", "file"), ("source", "web")
PACKAGES_KEYS = ("more", "force", "prefer")
MAX_LENGTH = 200_000  # characters of a spec that is sent


@dataclass(frozen=True)
class Spec:
    """An environment as its operator wants it. `more`, `force` and `prefer` are requirements of Python packages.

    `web` are the keys of the packs whose scripts may run in the editor, `egress` the hosts that ComfyUI may reach.
    """

    comfyui: ComfyUISource
    packs: tuple[PackSource, ...] = ()
    cutoff: str | None = None
    more: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()
    web: frozenset[str] = frozenset()
    files: tuple[Weights, ...] = ()
    egress: tuple[str, ...] = ()

    def with_packs(self, added: Iterable[PackSource]) -> Spec:
        """The spec with packs added; one that it has under the same name is replaced in its place.

        Another version of a pack keeps its scripts allowed, one from elsewhere does not. Raises InvalidEnvironment for
        two packs of one name.
        """
        packs, new = {key_of(pack): pack for pack in self.packs}, _by_key(dict.fromkeys(added))
        elsewhere = {key_of(pack) for pack, _ in self.from_elsewhere(new.values())}
        return dataclasses.replace(self, packs=tuple((packs | new).values()), web=self.web - elsewhere)

    def from_elsewhere(self, added: Iterable[PackSource]) -> list[tuple[PackSource, PackSource]]:
        """(pack, the one that it would replace) of those that have a name here, and come from elsewhere."""
        packs = {key_of(pack): pack for pack in self.packs}
        pairs = [(pack, packs[key_of(pack)]) for pack in added if key_of(pack) in packs]
        return [(pack, present) for pack, present in pairs if _origin(present) != _origin(pack)]

    def without_pack(self, name: str) -> Spec:
        """The spec without the pack of that name, and without files in its folder. Raises InvalidEnvironment if it has
        none."""
        left = tuple(pack for pack in self.packs if key_of(pack) != canonicalize_name(name) and str(pack) != name)
        if len(left) == len(self.packs):
            names = [pack.name for pack in self.packs]
            raise InvalidEnvironment(f"It has no pack named '{name}'.", hint=did_you_mean(name, names, _listed(names)))
        keys = set(map(key_of, self.packs)) - set(map(key_of, left))
        files = tuple(file for file in self.files if file.pack is None or canonicalize_name(file.pack) not in keys)
        return dataclasses.replace(self, packs=left, web=self.web - keys, files=files)

    def with_web(self, name: str, *, is_allowed: bool) -> Spec:
        """The spec with the scripts of a pack allowed in the editor, or not. Raises InvalidEnvironment."""
        named = {key_of(pack) for pack in self.packs} - {key_of(pack) for pack in self.without_pack(name).packs}
        return dataclasses.replace(self, web=self.web | named if is_allowed else self.web - named)

    def with_scripts(self, names: Iterable[str], *, is_allowed: bool) -> Spec:
        """The same for several packs."""
        spec = self
        for name in names:
            spec = spec.with_web(name, is_allowed=is_allowed)
        return spec

    def with_files(self, added: Iterable[Weights]) -> Spec:
        """The spec with files added; one at the same place is replaced. Raises InvalidEnvironment."""
        files = {file.path: file for file in self.files} | {file.path: file for file in added}
        return checked(dataclasses.replace(self, files=tuple(files.values())))

    def is_same_but_for_web(self, other: Spec) -> bool:
        """True if both describe the same content."""
        return dataclasses.replace(self, web=frozenset()) == dataclasses.replace(other, web=frozenset())

    def allows_web(self, pack: PackSource) -> bool:
        """True if the scripts of a pack may run in the editor."""
        return key_of(pack) in self.web


def key_of(pack: PackSource) -> str:
    """The name that only one pack can have: ComfyUI derives the names of its modules from its folder."""
    return canonicalize_name(pack.name)


def _origin(pack: PackSource) -> tuple[type, str]:
    """The place from which the versions of a pack come."""
    return type(pack), pack.url if isinstance(pack, Git) else key_of(pack)


def parse_spec(text: str) -> Spec:
    """A spec from TOML. Raises InvalidEnvironment, naming the key."""
    try:
        values = toml_table(text)
    except ValueError as error:
        raise InvalidEnvironment(f"The spec is not TOML: {error}.") from error
    _check_keys(values, KEYS, "The spec")
    sources = tuple((parse_pack(_source(pack)), _flag(pack, "web")) for pack in _tables(values, "pack"))
    packages = values.get("packages", {})
    if not isinstance(packages, dict):
        raise InvalidEnvironment("'packages' must be a table.")
    _check_keys(packages, PACKAGES_KEYS, "'packages'")
    return checked(
        Spec(
            comfyui=parse_comfyui(_text(values, "comfyui")),
            packs=tuple(pack for pack, _ in sources),
            cutoff=_cutoff(values.get("cutoff")),
            more=_requirements(packages, "more"),
            force=_requirements(packages, "force"),
            prefer=tuple(_version(line) for line in _requirements(packages, "prefer")),
            web=frozenset(key_of(pack) for pack, is_allowed in sources if is_allowed),
            files=tuple(map(_file, _tables(values, "file"))),
            egress=parse_egress(values.get("egress", [])),
        )
    )


def checked(spec: Spec) -> Spec:
    """The spec itself. Raises InvalidEnvironment for two packs of one name, or two files at one place."""
    _by_key(spec.packs)
    check_places(spec.files)
    return spec


def _by_key(packs: Iterable[PackSource]) -> dict[str, PackSource]:
    """The packs by the names that only one can have. Raises InvalidEnvironment."""
    by_key: dict[str, PackSource] = {}
    for pack in packs:
        if (other := by_key.setdefault(key_of(pack), pack)) is not pack:
            raise InvalidEnvironment(f"The pack '{pack.name}' is there twice: {other} and {pack}.")
    return by_key


def spec_toml(spec: Spec) -> str:
    """The spec as text that `parse_spec` reads."""
    lines = [f"comfyui = {_quoted(str(spec.comfyui))}"]
    if spec.cutoff:
        lines.append(f"cutoff = {_quoted(spec.cutoff)}")
    if spec.egress:
        lines.append(f"egress = {_list(spec.egress)}")
    for pack in spec.packs:
        lines += ["", "[[pack]]", f"source = {_quoted(str(pack))}"]
        lines += ["web = true"] if spec.allows_web(pack) else []
    packages = {"more": spec.more, "force": spec.force, "prefer": spec.prefer}
    if any(packages.values()):
        lines += ["", "[packages]"]
        lines += [f"{key} = {_list(values)}" for key, values in packages.items() if values]
    for file in spec.files:
        lines += ["", *file_toml(file)]
    return "\n".join(lines) + "\n"


def file_toml(file: Weights) -> list[str]:
    """The lines of a file's table."""
    texts = {"path": file.path, "url": file.url, "sha256": file.sha256}
    lines = ["[[file]]", *(f"{key} = {_quoted(text)}" for key, text in texts.items() if text)]
    return [*lines, f"size = {file.size}"] if file.size else lines


def _tables(values: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = values.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InvalidEnvironment(f"'{key}' must be a list of tables: [[{key}]].")
    return found


def _file(values: Mapping[str, Any]) -> Weights:
    _check_keys(values, weights.KEYS, "A file")
    return parse_weights(values)


def _source(pack: Mapping[str, Any]) -> str:
    _check_keys(pack, PACK_KEYS, "A pack")
    return _text(pack, "source")


def _check_keys(values: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    for key in values:
        if key not in known:
            raise InvalidEnvironment(f"{what} has no key '{key}'.", hint=did_you_mean(key, known, _listed(known)))


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str):
        raise InvalidEnvironment(f"'{key}' must be a string.")
    return value


def _flag(values: Mapping[str, Any], key: str) -> bool:
    value = values.get(key, False)
    if not isinstance(value, bool):
        raise InvalidEnvironment(f"'{key}' must be true or false.")
    return value


def _cutoff(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, datetime.date):
        value = value.isoformat()
    try:
        return datetime.date.fromisoformat(str(value)).isoformat()
    except ValueError as error:
        raise InvalidEnvironment("'cutoff' must be a date such as 2026-11-20.") from error


def _requirements(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = values.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise InvalidEnvironment(f"'packages.{key}' must be a list of strings.")
    return tuple(_requirement(each, key) for each in found)


def _requirement(text: str, key: str) -> str:
    try:
        requirement = parse_requirement(text)
    except InvalidRequirement as error:
        raise InvalidEnvironment(f"'{text}' in 'packages.{key}' is not a requirement such as numpy>=2.") from error
    if requirement.url:
        raise InvalidEnvironment(f"'{text}' in 'packages.{key}' names an address; packages come from the index.")
    return str(requirement)


def _version(line: str) -> str:
    if not is_version(line):
        raise InvalidEnvironment(f"'{line}' in 'packages.prefer' is not a version such as einops==0.8.1.")
    return line


def is_version(line: str) -> bool:
    """True for a requirement that one version satisfies."""
    specifiers = list(parse_requirement(line).specifier)
    return len(specifiers) == 1 and specifiers[0].operator == "==" and "*" not in specifiers[0].version


def _listed(names: Iterable[str]) -> str:
    known = ", ".join(names)
    return f"It has {known}." if known else "It has none."


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_quoted, values))}]"


def _quoted(text: str) -> str:
    """A string of TOML: JSON's escapes are TOML's too, but for DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
