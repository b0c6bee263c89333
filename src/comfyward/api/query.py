"""The query of an address, read by a model."""

from __future__ import annotations

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
    sent = parse_qsl(request.scope["query_string"].decode("latin-1"))  # without the empty ones
    try:
        return model.model_validate(dict(sent))
    except ValidationError as error:
        raise refused(error, "query") from error
