"""Every error of the tree can be answered by every API, in that API's one form."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from comfyward.api.errors import ErrorFormat
from comfyward.api.native import errors as native
from comfyward.api.v1 import errors as v1
from comfyward.api.v2 import errors as v2
from comfyward.errors import ComfywardError, TooLarge, Unauthenticated

FORMATS = {"v1": v1.ERRORS, "v2": v2.ERRORS, "native": native.ERRORS}


def tree(kind: type[ComfywardError] = ComfywardError) -> list[type[ComfywardError]]:
    found = [kind] if kind.__module__ == "comfyward.errors" else []
    return found + [each for below in kind.__subclasses__() for each in tree(below)]


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", FORMATS)
def test_every_error_has_the_form_of_its_api(name: str, kind: type[ComfywardError]) -> None:
    errors = FORMATS[name]
    spelled = errors.spell(kind("It went wrong.", hint="Do better.", limit=5))
    assert 400 <= spelled.status < 600
    errors.model.model_validate(spelled.body)


def client(errors: ErrorFormat) -> TestClient:
    async def refuse(request: Request) -> Response:
        raise {"large": TooLarge("Too large."), "stranger": Unauthenticated("No key."), "bug": KeyError("a")}[
            request.path_params["why"]
        ]

    app = Starlette(routes=[Route("/{why}", refuse, methods=["GET"])], exception_handlers=errors.handlers())
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("name", FORMATS)
def test_paths_methods_and_faults_of_the_server_are_errors_of_the_api_too(name: str) -> None:
    errors = FORMATS[name]
    with client(errors) as asked:
        answers = {
            404: asked.get("/nothing/here"),
            405: asked.post("/large"),
            413: asked.get("/large"),
            401: asked.get("/stranger"),
            500: asked.get("/bug"),
        }
    for status, answered in answers.items():
        assert answered.status_code == status
        errors.model.model_validate(answered.json())
    assert set(answers[405].headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert answers[401].headers["www-authenticate"] == "Bearer"
    assert "KeyError" not in answers[500].text
