"""The models that a saved graph names are found in its text, in either form, and within bounds."""

from __future__ import annotations

import json

from comfyward.workflows.model_names import MAX_NAMES, model_names, names_of


def test_both_forms_and_prompts() -> None:
    api = {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl/base.safetensors"}}}
    editor = {"nodes": [{"widgets_values": ["deep\\style.ckpt", 1.0, "vae.PT"]}]}
    prompt = {"text": "a cat, embedding:soft:1.2 and <lora:ink-v1:0.8>, not a file.png"}
    assert model_names(json.dumps(api)) == {"sdxl/base.safetensors"}
    assert model_names(json.dumps(editor)) == {"deep/style.ckpt", "vae.PT"}
    assert model_names(json.dumps(prompt)) == {"soft", "ink-v1"}


def test_names_inside_a_text_of_json() -> None:
    stack = {"inputs": {"stack": json.dumps([{"lora": "a/b.safetensors"}, {"lora": "c.safetensors"}])}}
    assert model_names(json.dumps(stack)) == {"a/b.safetensors", "c.safetensors"}


def test_what_is_longer_than_a_name_is_none() -> None:
    assert model_names(json.dumps("x" * 600 + ".safetensors")) == set()
    assert model_names(None) == set()
    assert model_names("") == set()


def test_of_many_names_so_many_are_kept() -> None:
    assert len(model_names(json.dumps([f"{number}.safetensors" for number in range(2000)]))) == MAX_NAMES


def test_the_names_of_a_path() -> None:
    assert names_of("/models/checkpoints/sdxl/base.safetensors") == ["sdxl/base.safetensors"]
    assert names_of("/models/embeddings/soft.pt") == ["soft.pt", "soft"]
