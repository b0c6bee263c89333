"""Texts and streamed pictures become files, whose names are made of ids of nodes."""

from comfyward.worker.result_names import ResultNames, texts_of


def test_similar_node_ids_get_distinct_names() -> None:
    names = ResultNames()
    ids = ["1:2", "1-2", "1/2", "1.2", "1-2_2", "é", "2", "../..", "", "x" * 500, "x" * 501]

    made = {node: names.name("text", node, suffix=".txt", of=node) for node in ids}

    assert len(set(made.values())) == len(ids)
    assert made["2"] == "text_2.txt"
    assert made["1:2"] == "text_1-2.txt"
    assert not any("/" in name or ".." in name or len(name) > 100 for name in made.values())
    assert {node: names.name("text", node, suffix=".txt", of=node) for node in ids} == made  # again the same


def test_texts_under_any_key() -> None:
    shown = {
        "1": {"text": ["one", "two"], "string": "three", "images": [{"filename": "a.png"}], "empty": []},
        "2": {"tags": ("four",), "mixed": ["five", None], "animated": [True]},
        "3": None,
    }

    assert list(texts_of(shown)) == [("1", "text", ["one", "two"]), ("1", "string", ["three"]), ("2", "tags", ["four"])]
