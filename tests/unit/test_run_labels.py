"""Labels are small plain texts; a wrong one is refused by its name."""

import pytest

from comfyward.errors import InvalidLabels
from comfyward.runs.labels import InvalidFilter, check_filter, check_labels


def test_good_labels() -> None:
    assert check_labels(None) == {}
    assert check_labels({"client": "acme", "a.b_c-1": "ä" * 128}) == {"client": "acme", "a.b_c-1": "ä" * 128}


@pytest.mark.parametrize(
    "labels",
    [
        "text",
        [],
        {"": "x"},
        {"sp ace": "x"},
        {"k" * 41: "x"},
        {"k": 1},
        {"k": None},
        {"k": "ä" * 129},
        {"k": "line\n"},
        {"k": "\u202e"},
        {f"k{number}": "x" for number in range(17)},
    ],
)
def test_bad_labels(labels: object) -> None:
    with pytest.raises(InvalidLabels):
        check_labels(labels)


@pytest.mark.parametrize(
    "pairs", [[("a", "1"), ("a", "2")], [("", "1")], [("a", "\n")], [(name, "1") for name in "abcd"]]
)
def test_bad_filters(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidFilter):
        check_filter(pairs)


def test_a_filter_of_three() -> None:
    assert check_filter([("a", "1"), ("b", "2"), ("c", "3")]) == {"a": "1", "b": "2", "c": "3"}
