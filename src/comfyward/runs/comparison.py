"""The comparison of what a run made with what an earlier one made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from comfyward.runs.output import Output
from comfyward.wording import plural

MAX_PAIRS = 8


@dataclass(frozen=True)
class Compared:
    """`message` says what is different in count and kind, "" if nothing is. `pairs` are pictures with other bytes."""

    message: str
    pairs: tuple[tuple[Output, Output], ...] = ()


def compared(former: Sequence[Output], outputs: Sequence[Output]) -> Compared:
    """Compares outputs by count and kind, and finds the pairs of pictures whose pixels are to be compared."""
    before, after = _kinds(former), _kinds(outputs)
    if before != after:
        return Compared(f"It made {_counted(after)}, where the run before made {_counted(before)}.")
    return Compared("", tuple(_pairs(former, outputs))[:MAX_PAIRS])


def _kinds(outputs: Sequence[Output]) -> Counter[str]:
    return Counter(output.content_type for output in outputs)


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(plural(count, f"file of {kind}", f"files of {kind}") for kind, count in sorted(kinds.items())) or (
        "nothing"
    )


def _pairs(former: Sequence[Output], outputs: Sequence[Output]) -> Iterator[tuple[Output, Output]]:
    """Each picture with that of its kind, node and place."""
    for one, other in zip(sorted(former, key=_place), sorted(outputs, key=_place), strict=True):
        if one.digest != other.digest and one.content_type.startswith("image/"):
            yield one, other


def _place(output: Output) -> tuple[str, str, str]:
    return output.content_type, output.node_id or "", output.name
