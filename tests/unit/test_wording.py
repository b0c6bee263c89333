"""1 file and 2 files; and which known name a mistyped one may have meant."""

from __future__ import annotations

from comfyward.wording import closest, did_you_mean, plural


def test_plurals() -> None:
    said = [plural(1, "file"), plural(0, "file"), plural(1200, "file"), plural(1, "delivery", "deliveries")]
    assert said == ["1 file", "0 files", "1,200 files", "1 delivery"]
    assert plural(2, "delivery", "deliveries") == "2 deliveries"


def test_mistyped_names_get_a_suggestion() -> None:
    pools = ["L4", "A100_80GB", "H100"]
    assert closest("a100_80gb", pools) == "A100_80GB"
    assert closest("H10", pools) == "H100"
    assert closest("something", pools) is None
    assert did_you_mean("H10", pools, "See the list.") == "Did you mean 'H100'?"
    assert did_you_mean("something", pools, "See the list.") == "See the list."
