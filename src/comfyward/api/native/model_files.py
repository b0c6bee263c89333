"""ComfyUI's lists of models: those that workers have, and the account's own."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.account_catalog import AccountCatalogs
from comfyward.api.native.models import ModelFile, ModelFolder
from comfyward.paths import model_path

UNKNOWN = {"pathIndex": 0, "modified": 0, "created": 0, "size": 0}


class ModelFiles:
    def __init__(self, catalogs: AccountCatalogs) -> None:
        self._catalogs = catalogs

    def endpoints(self) -> list[Endpoint]:
        names, experiment = Models(answer=list[str]), "/experiment/models"
        folders, sized = Models(answer=list[ModelFolder]), Models(answer=list[ModelFile])
        paths = Models(answer=dict[str, list[str]])
        return [
            Endpoint("GET", "/models", self.folders, "Folders of models", names),
            Endpoint("GET", "/models/{folder}", self.models, "The models in a folder", names),
            Endpoint("GET", experiment, self.folders_with_paths, "Folders of models, with their paths", folders),
            Endpoint("GET", f"{experiment}/{{folder}}", self.models_with_sizes, "The models in a folder", sized),
            Endpoint("GET", "/internal/folder_paths", self.folder_paths, "The paths of folders", paths),
            Endpoint("GET", "/embeddings", self.embeddings, "Embeddings", names),
        ]

    async def folders(self, request: Request) -> Response:
        return answer(list(await self._models(request)))

    async def models(self, request: Request) -> Response:
        found = (await self._models(request)).get(request.path_params["folder"])
        return Response(status_code=404) if found is None else answer(found)

    async def folders_with_paths(self, request: Request) -> Response:
        return answer([{"name": name, "folders": [name]} for name in await self._models(request)])

    async def models_with_sizes(self, request: Request) -> Response:
        """Sizes and times are not known."""
        found = (await self._models(request)).get(request.path_params["folder"])
        return Response(status_code=404) if found is None else answer([{"name": name, **UNKNOWN} for name in found])

    async def folder_paths(self, request: Request) -> Response:
        """Folders as runs and files name them. The editor adds a missing model only where it knows the folder."""
        return answer({name: [model_path(name)] for name in await self._models(request)})

    async def embeddings(self, request: Request) -> Response:
        names = (await self._models(request)).get("embeddings", [])
        return answer(sorted(name.rpartition(".")[0] or name for name in names))

    async def _models(self, request: Request) -> dict[str, list[str]]:
        return (await self._catalogs.of(request)).models
