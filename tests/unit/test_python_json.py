"""ComfyUI and its clients write JSON with Python: what strict JSON does not have is read, and never written."""

import json

import msgspec
import pytest

from comfyward.python_json import MOST_VALUES, NOT_JSON, TooManyValues, read_answer, read_request, refuse_many

NUMBERS = '"a": [NaN, Infinity, -Infinity, 1e999, 1.5, 3]'
ODD = f'{{{NUMBERS}, "NaN": "NaN Infinity", "half": "\\ud83d", "whole": "\\ud83d\\ude00"}}'


def test_numbers_that_json_does_not_have_are_null_in_an_answer() -> None:
    value = read_answer(ODD.encode())

    assert value["a"] == [None, None, None, None, 1.5, 3]
    assert value["NaN"] == "NaN Infinity"
    assert (value["half"], value["whole"]) == ("\ufffd", "😀")
    assert json.loads(msgspec.json.encode(value)) == value


def test_requests_spell_them_as_names_that_comfyui_reads_as_numbers() -> None:
    value = read_request(ODD)

    assert value["a"] == ["NaN", "Infinity", "-Infinity", "Infinity", 1.5, 3]
    assert [float(each) for each in value["a"][1:4]] == [float("inf"), float("-inf"), float("inf")]


def test_a_byte_order_mark_is_ignored() -> None:
    assert read_request(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("text", ["", "{", '{"a": nan}', "[1,]", "[" * 100_000, "'a'"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(NOT_JSON):
        read_request(text)


@pytest.mark.parametrize("text", ["a,b;" * MOST_VALUES, '\\",{[' * MOST_VALUES, "[" * 2 * MOST_VALUES])
def test_what_stands_in_a_string_is_no_value(text: str) -> None:
    written = json.dumps({"text": text, "and": "end\\"})

    assert read_request(written) == read_request(written.encode()) == {"text": text, "and": "end\\"}


@pytest.mark.parametrize(
    "body",
    [
        "[" + "[]," * MOST_VALUES + "[]]",
        "[" + '"",' * MOST_VALUES + '""]',
        '{"a":"' + "b,c" * MOST_VALUES + '","d":[' + "1," * MOST_VALUES + "1]}",
        '"",' * MOST_VALUES * 4,
        "," * (MOST_VALUES + 1) + '"' + '\\"' * MOST_VALUES,
        "," * (MOST_VALUES + 1) + '"' + "\\",
    ],
    ids=["lists", "strings", "beside a long string", "many strings", "a string without end", "an escape without end"],
)
def test_values_are_counted_before_they_are_read(body: str) -> None:
    for written in (body, body.encode()):
        with pytest.raises(TooManyValues, match=f"it has more than {MOST_VALUES} values"):
            refuse_many(written)
