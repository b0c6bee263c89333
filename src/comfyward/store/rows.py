"""Conversion between rows of the table `runs` and `Run`."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row

from comfyward.runs.failure import Failure
from comfyward.runs.output import Output
from comfyward.runs.run import Api, EndReason, Run, State
from comfyward.store.schema import runs

RUN_COLUMNS = [runs.c[name] for name in Run.__dataclass_fields__]
# The columns of RUN_COLUMNS that may be large: lists ask how long they are.
TEXTS_OF_GRAPH = (runs.c.prompt, runs.c.extra_data)
_REQUESTED, _RESULTS = ("files", "models", "metadata"), ("failure", "outputs", "previews", "node_results")
OTHER_TEXTS = tuple(runs.c[name] for name in (*_REQUESTED, *_RESULTS))

_NAMES = list(Run.__dataclass_fields__)
_JSON = {
    _NAMES.index(name): msgspec.json.Decoder(kind).decode
    for name, kind in (
        ("files", dict[str, Any]),
        ("models", list[str]),
        ("metadata", dict[str, Any]),
        ("tags", list[str]),
        ("labels", dict[str, str]),
        ("failure", Failure),
        ("outputs", list[Output]),
        ("previews", list[Output]),
    )
}
_STATE, _SUBMITTED_VIA, _END_REASON = (_NAMES.index(name) for name in ("state", "submitted_via", "end_reason"))
_STATES = {str(state): state for state in State}
_APIS = {str(api): api for api in Api}


def run_of(row: Row[*tuple[Any, ...]]) -> Run:
    """A run from a row that begins with RUN_COLUMNS."""
    values = list(row[: len(_NAMES)])
    for index, decode in _JSON.items():
        if values[index] is not None:
            values[index] = decode(values[index])
    values[_STATE], values[_SUBMITTED_VIA] = _STATES[values[_STATE]], _APIS[values[_SUBMITTED_VIA]]
    if values[_END_REASON] is not None:
        values[_END_REASON] = EndReason(values[_END_REASON])
    run = object.__new__(Run)
    run.__dict__.update(zip(_NAMES, values, strict=True))  # in a third of the time that its constructor takes
    return run


def text_of(value: Any) -> str:
    """A value as JSON text, for a column."""
    return msgspec.json.encode(value).decode("utf-8")
