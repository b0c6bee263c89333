"""A model's header tells its trigger words, licence and title, within bounds, whatever a stranger wrote there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfyward.workflows.model_facts import MAX_WORD, MAX_WORDS, ModelFacts, facts_of, words_in


def header(**metadata: Any) -> dict[str, Any]:
    return {"__metadata__": {key.replace("__", "."): value for key, value in metadata.items()}}


def test_what_an_author_wrote() -> None:
    said = header(
        modelspec__title="Paper Cut",
        modelspec__author="someone",
        modelspec__license="CreativeML OpenRAIL-M",
        modelspec__architecture="stable-diffusion-xl-v1-base/lora",
        modelspec__trigger_phrase="papercut style, ink,papercut style",
        ss_tag_frequency=json.dumps({"1_x": {"other": 9}}),
    )
    assert facts_of(said) == ModelFacts(
        architecture="SDXL",
        trigger_words=("papercut style", "ink"),
        licence="CreativeML OpenRAIL-M",
        title="Paper Cut",
        author="someone",
    )


def test_the_tags_that_nearly_all_pictures_have() -> None:
    counted = {"10_sks dog": {"sks dog": 40, "outdoors": 12, "grass": 37, "1dog": 40}, "1_more": {"style": 3}}
    assert facts_of(header(ss_tag_frequency=json.dumps(counted))).trigger_words == ("1dog", "sks dog", "grass", "style")


@pytest.mark.parametrize(
    ("cover", "has"), [("[]", False), ('["aGk="]', True), (7, False), (None, False), (["aGk="], False)]
)
def test_a_cover_is_a_text(cover: Any, has: bool) -> None:
    assert facts_of(header(ssmd_cover_images=cover)).has_cover is has


@pytest.mark.parametrize(
    "wrong", [None, 1, True, [], {}, "", " \n ", "[" * 100_000, "{", '{"a": [1]}', '{"a": {"b": "c"}}', '{"a": null}']
)
def test_values_of_any_type_are_borne(wrong: Any) -> None:
    said = header(ss_tag_frequency=wrong)
    assert facts_of(said).trigger_words == ()
    assert facts_of({"__metadata__": wrong}) == ModelFacts()


def test_what_is_kept_has_a_bound() -> None:
    many = ", ".join(f"word {number} {'x' * 300}" for number in range(1000))
    words = facts_of(header(modelspec__trigger_phrase=many, modelspec__license="y" * 10_000)).trigger_words
    assert len(words) <= MAX_WORDS
    assert max(map(len, words)) <= MAX_WORD
    assert len(facts_of(header(modelspec__license="y" * 10_000)).licence) == 200
    tags = json.dumps({str(folder): {f"tag {folder} {tag}": 1 for tag in range(50)} for folder in range(50)})
    assert len(facts_of(header(ss_tag_frequency=tags)).trigger_words) == MAX_WORDS


def test_so_many_tags_are_not_decoded() -> None:
    tags = json.dumps({"1_x": {str(tag): 1 for tag in range(200_001)}})
    assert facts_of(header(ss_tag_frequency=tags)).trigger_words == ()


def test_words_of_a_form() -> None:
    assert words_in(" a  b,c\n,, c ") == ("a b", "c")
