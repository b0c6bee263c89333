"""The query of an address, read by a model."""

from __future__ import annotations

import functools
from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from comfyward.api.body import refused

M = TypeVar("M", bound=BaseModel)


def read_query(request: Request, model: type[M]) -> M:
    """The query as a model. An empty parameter counts as absent; of a repeated one the last counts.

    Raises InvalidRequest naming the parameter and its fault.
    """
    sent = request.scope["query_string"]
    try:
        return _read(model, sent) if sent else _defaults(model)
    except ValidationError as error:
        raise refused(error, "query") from error


def _read(model: type[M], sent: bytes) -> M:
    return model.model_validate(dict(parse_qsl(sent.decode("latin-1"))))  # without the empty ones


_defaults = functools.cache(functools.partial(_read, sent=b""))
