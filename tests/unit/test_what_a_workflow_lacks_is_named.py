"""What a workflow's file lacks is named with its place: classes, models with where they are, files of its caller."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.errors import InvalidRequest
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.check import Fit, Lacks, fits, ranked
from comfyward.workflows.listing import Listing, Paths
from comfyward.workflows.model_notes import KnownModels, ModelNote, notes_in
from comfyward.workflows.needed import Needed, Source, needed, source_of
from comfyward.workflows.posted import Posted, opened, written

HUB = "https://huggingface.co/Comfy-Org/models/resolve/main"
SHA = "a" * 64
CATALOG = Catalog(
    nodes={
        "LoadModel": {"input": {"required": {"model": [["house.safetensors"], {}], "dtype": [["fp8", "fp16"], {}]}}},
        "LoadClip": {"input": {"required": {"clip": [[], {}]}}, "output": ["CLIP"]},
        "LoadPicture": {"input": {"required": {"image": [["example.png"], {}]}}, "output": ["IMAGE"]},
        "Save": {"input": {"optional": {"any": ["*", {}]}}, "output": [], "output_node": True},
    },
    folders={
        "LoadModel": {"model": "diffusion_models"},
        "LoadClip": {"clip": "text_encoders"},
        "LoadPicture": {"image": "input"},
    },
    models={"diffusion_models": ["house.safetensors"]},
    kinds={
        "diffusion_models": [Listing("models/unet"), Listing("models/diffusion_models")],
        "text_encoders": [Listing("models/text_encoders"), Listing("models/clip")],
    },
)
NOBODY = KnownModels()


def node(node_id: int, kind: str, *values: Any, **more: Any) -> dict[str, Any]:
    return {"id": node_id, "type": kind, "widgets_values": list(values), **more}


def noted(name: str, directory: str, **more: Any) -> dict[str, Any]:
    return {"properties": {"models": [{"name": name, "directory": directory, "url": f"{HUB}/{name}", **more}]}}


def graph(*nodes: dict[str, Any], inside: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    definitions = {"subgraphs": [{"id": "box", "nodes": inside, "links": []}]} if inside else {}
    return {"nodes": list(nodes), "links": [], "definitions": definitions, **more}


def lacked(
    file: dict[str, Any], *own: str, known: KnownModels = NOBODY, catalog: Catalog = CATALOG
) -> tuple[Needed, dict[str, Source | None]]:
    """(the needs of a file, the sources of its missing models by name)."""
    found = opened(Posted.of(file))
    parts, _ = written(found, catalog)
    needs = needed(parts, catalog, Paths(own), known)
    return needs, {each.name: source_of(each, parts, found.models, known, catalog) for each in needs.missing_models}


def places(needs: Needed) -> list[tuple[str, list[tuple[str, str, str]]]]:
    return [(each.name, [(at.path, at.title, at.input) for at in each.where]) for each in needs.classes]


def test_a_missing_class_is_named_with_its_nodes_also_in_subgraphs() -> None:
    file = graph(
        node(1, "Fancy", title="My fancy node"),
        node(2, "box"),
        node(3, "Muted", mode=2),
        node(4, "Bypassed", mode=4),
        node(5, "Note", "Fancy"),
        inside=[node(7, "Fancy"), node(8, "Save")],
    )

    needs, _ = lacked(file)

    assert places(needs) == [("Fancy", [("1", "My fancy node", ""), ("2:7", "Fancy", "")])]


def test_a_missing_model_is_found_beside_unknown_classes() -> None:
    file = graph(
        node(1, "LoadModel", "paint.safetensors", "fp8", **noted("paint.safetensors", "diffusion_models", hash=SHA)),
        node(2, "LoadModel", "house.safetensors", "fp8"),
        node(3, "Fancy", "face.pth", {"deep": ["swap.onnx"]}, 7, **noted("face.pth", "facedetection")),
        node(4, "box"),
        inside=[node(7, "LoadModel", "paint.safetensors", "fp8")],
    )

    needs, sources = lacked(file)

    assert [(each.name, each.folder, each.path, each.is_here) for each in needs.models] == [
        ("paint.safetensors", "diffusion_models", "/models/diffusion_models/paint.safetensors", False),
        ("house.safetensors", "diffusion_models", None, True),
        ("face.pth", "facedetection", "/models/facedetection/face.pth", False),
        ("swap.onnx", None, None, False),
    ]
    assert [(at.path, at.input) for at in needs.models[0].where] == [("1", "model"), ("4:7", "model")]
    assert sources == {
        "paint.safetensors": Source(f"{HUB}/paint.safetensors", SHA, "node"),
        "face.pth": Source(f"{HUB}/face.pth", None, "node"),
        "swap.onnx": None,
    }


def test_the_accounts_own_model_is_not_missing_wherever_comfyui_reads_it() -> None:
    file = graph(node(1, "LoadClip", "l.safetensors"), node(2, "Fancy", "face.pth", **noted("face.pth", "faces")))

    needs, _ = lacked(file, "/models/clip/l.safetensors", "/models/faces/face.pth")

    assert [(each.name, each.path, each.is_here) for each in needs.models] == [
        ("l.safetensors", "/models/clip/l.safetensors", True),
        ("face.pth", "/models/faces/face.pth", True),
    ]


def test_a_url_counts_only_where_name_and_folder_agree() -> None:
    def told(*directories: str) -> Source | None:
        models = [
            {"name": "l.safetensors", "directory": each, "url": f"https://example.com/{number}"}
            for number, each in enumerate(directories)
        ]
        file = graph(node(1, "LoadClip", "l.safetensors", properties={"models": models}))
        return lacked(file)[1]["l.safetensors"]

    assert told("loras") is None
    assert told("loras", "clip") == Source("https://example.com/1", None, "node")
    assert told("text_encoders/large") == Source("https://example.com/0", None, "node")
    assert told("../text_encoders") is None


def test_models_beside_the_nodes_in_notes_and_in_templates_are_used_in_this_order() -> None:
    known = KnownModels([ModelNote("l.safetensors", "https://templates", "text_encoders")] * 2)
    wanting = node(1, "LoadClip", "l.safetensors")
    note = node(2, "MarkdownNote", f"Put [l.safetensors]({HUB}/l.safetensors?download=true) into models/clip.")
    beside = [{"name": "l.safetensors", "directory": "clip", "url": "https://beside"}]

    def url(file: dict[str, Any]) -> tuple[str, str] | None:
        source = lacked(file, known=known)[1]["l.safetensors"]
        return source and (source.url, source.told_by)

    assert url(graph(wanting, note, models=beside)) == ("https://beside", "node")
    assert url(graph(wanting, note)) == (f"{HUB}/l.safetensors?download=true", "note")
    assert url(graph(wanting)) == ("https://templates", "templates")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"get {HUB}/a.safetensors.", [("a.safetensors", f"{HUB}/a.safetensors")]),
        (f"({HUB}/a%20b.gguf), then", [("a b.gguf", f"{HUB}/a%20b.gguf")]),
        (
            "**[x.safetensors](https://civitai.com/api/download/models/12)**",
            [("x.safetensors", "https://civitai.com/api/download/models/12")],
        ),
        ("https://huggingface.co/Comfy-Org and https://[broken.safetensors", []),
        ("see http://a.example/readme.md", []),
        (7, []),
    ],
)
def test_addresses_in_notes_are_read(text: object, expected: list[tuple[str, str]]) -> None:
    assert [(each.name, each.url) for each in notes_in(graph(node(1, "Note", text)))] == expected


@pytest.mark.parametrize(
    "models",
    [
        None,
        7,
        [7],
        [{"name": 1, "url": f"{HUB}/a"}],
        [{"name": "a", "url": "file:///etc/passwd"}],
        [{"name": "a\n", "url": HUB}],
        [{"name": "a" * 300, "url": HUB}],
        [{"name": "a", "url": "https://" + "a" * 3000}],
    ],
)
def test_what_is_no_model_is_left_out(models: Any) -> None:
    assert notes_in({"nodes": [node(1, "X", properties={"models": models})], "models": models}) == []


def test_a_hash_that_is_no_sha256_is_left_out() -> None:
    def hash_of(**told: Any) -> str | None:
        entry = {"name": "a.pt", "url": HUB, **told}
        return notes_in({"nodes": [], "models": [entry]})[0].sha256

    assert hash_of(hash=SHA.upper(), hash_type="SHA256") == SHA
    assert hash_of(hash=SHA) == SHA
    assert hash_of(hash=SHA, hash_type="blake3") is None
    assert hash_of(hash="AutoV2") is None


def test_files_that_are_not_uploaded_are_named() -> None:
    file = graph(node(1, "LoadPicture", "cat.png", "image"), node(2, "LoadPicture", "example.png", "image"))

    needs, _ = lacked(file)
    assert [(each.name, each.path, each.where[0].path) for each in needs.inputs] == [("cat.png", "/input/cat.png", "1")]
    assert lacked(file, "/input/cat.png")[0].inputs == ()


def test_a_graph_of_the_api_lacks_only_what_an_output_depends_on() -> None:
    prompt = {
        "1": {"class_type": "LoadModel", "inputs": {"model": "used.safetensors", "dtype": "fp8"}},
        "2": {"class_type": "Save", "inputs": {"any": ["1", 0]}},
        "3": {"class_type": "LoadModel", "inputs": {"model": "unused.safetensors", "dtype": "fp8"}},
    }

    assert [each.name for each in lacked(prompt)[0].models] == ["used.safetensors"]
    more = {**prompt, "4": {"class_type": "Fancy", "inputs": {"model": ["3", 0], "path": "face.pth"}}}
    assert [each.name for each in lacked(more)[0].models] == ["used.safetensors", "unused.safetensors", "face.pth"]
    assert lacked(more, known=KnownModels([ModelNote("face.pth", HUB, "faces")]))[1]["face.pth"] == Source(
        HUB, None, "templates"
    )


def test_names_that_lead_out_of_a_folder_have_no_path() -> None:
    file = graph(node(1, "Fancy", "../../etc/a.pt", **noted("../../etc/a.pt", "loras")))
    assert [each.path for each in lacked(file)[0].models] == [None]


def test_before_a_worker_has_told_its_classes_models_are_found_all_the_same() -> None:
    file = graph(node(1, "LoadModel", "paint.safetensors", **noted("paint.safetensors", "unet")))
    needs, sources = lacked(file, catalog=Catalog())
    assert [(each.name, each.folder) for each in needs.models] == [("paint.safetensors", "unet")]
    assert sources["paint.safetensors"] == Source(f"{HUB}/paint.safetensors", None, "node")


def test_the_environment_that_lacks_the_least_comes_first() -> None:
    lacks = [Lacks("b", ("X",)), Lacks("new", (), is_known=False), Lacks("default", ("X",)), Lacks("a", ("X", "Y"))]

    assert [each.environment for each in ranked(lacks, "")] == ["default", "b", "a", "new"]
    assert [each.environment for each in ranked(lacks, "b")] == ["b", "default", "a", "new"]


@pytest.mark.parametrize(
    ("memory", "sizes", "fit"),
    [
        (10, [4, 6], Fit.TOGETHER),
        (10, [4, 7], Fit.IN_TURN),
        (10, [4, 11], Fit.TOO_LARGE),
        (10, [4, 11, None], Fit.TOO_LARGE),
        (10, [4, None], Fit.UNKNOWN),
        (None, [4], Fit.UNKNOWN),
        (None, [], Fit.TOGETHER),
    ],
)
def test_models_are_compared_with_the_memory_of_accelerators(
    memory: int | None, sizes: list[int | None], fit: Fit
) -> None:
    assert [each.fit for each in fits({"L4": memory}, sizes)] == [fit]


def test_either_field_takes_either_form() -> None:
    file, prompt = graph(node(1, "Save")), {"1": {"class_type": "Save", "inputs": {}}}
    assert Posted.of(None, file) == Posted.of(file, None) == Posted(None, file)
    assert Posted.of(prompt, file) == Posted(prompt, file)
    with pytest.raises(InvalidRequest):
        Posted.of(None, None)
