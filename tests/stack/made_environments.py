"""Environments of a small ComfyUI, that an admin makes over the API."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.source import Folder
from comfyward.environments.workshop import Workshop
from comfyward.files.guard import Guard
from tests.conftest import FAKE_COMFYUI
from tests.stack.stack import NO_REGISTRY, Stack
from tests.stack.waiting import until


def comfyui_of(stack: Stack) -> Folder:
    """The source of a ComfyUI that asks for one package, copied to the server's host."""
    registry = ComfyRegistry(NO_REGISTRY, Guard())
    folder = stack.data_dir / "sources" / "ComfyUI"
    if not folder.exists():
        shutil.copytree(FAKE_COMFYUI, folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "requirements.txt").write_text("aiohttp\n")
    return Workshop.below(stack.data_dir / "environments", registry).sources.add_folder(folder)


class Admin:
    """An admin who works on one environment."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.http, self.name = stack.client().http, name
        spec = f'comfyui = "{comfyui_of(stack)}"\n'
        answer = self.http.post("/api/v1/environments", json={"name": name, "spec": spec})
        assert answer.status_code == 201, answer.text

    def post(self, path: str, status: int, **body: Any) -> dict[str, Any]:
        answer = self.http.post(f"/api/v1/environments/{self.name}/{path}", json=body)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    def get(self, path: str = "") -> dict[str, Any]:
        answer = self.http.get(f"/api/v1/environments/{self.name}{path}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(self, is_met: Callable[[dict[str, Any]], bool], path: str = "") -> dict[str, Any]:
        """What is shown once it meets a condition."""
        return until(is_met, lambda: self.get(path))

    def locked(self) -> dict[str, Any]:
        """The last locking, once it has ended."""
        return self.until(lambda shown: shown["finished_at"] is not None, "/lock")
