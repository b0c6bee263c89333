"""Models in the memory of workers' hosts, and those that are pinned there, for admins."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.responses import Response

from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.model_pins import ModelPins, NewPin
from comfyward.errors import ComfywardError, InvalidPath, NotFound
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError

MOST_WORKERS = 10_000


class FleetMemory:
    def __init__(self, pins: ModelPins, inventory: Inventory) -> None:
        self._pins, self._inventory = pins, inventory

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/fleet/memory", self.show, "Models in memory", Access.ADMINS),
            Page("POST", "/fleet/memory/pins", self.pin, "Pin a model", Access.ADMINS),
            Page("POST", "/fleet/memory/pins/{pin_id}/delete", self.unpin, "Unpin a model", Access.ADMINS),
        ]

    async def show(self, request: PageRequest) -> Response:
        template = "fleet_memory.part.html" if request.is_partial else "fleet_memory.html"
        return request.render(
            template,
            pins=await self._pins.states(request.account),
            memories=await self._pins.memories(request.account),
            pools=await self._inventory.pools(),
            tab="memory",
        )

    async def pin(self, request: PageRequest) -> Response:
        form = await request.form()
        model, workers = text_of(form, "model", 1100), _workers(form)
        try:
            await self._pins.pin(request.account, NewPin(model, "", text_of(form, "pool", 60), workers))
        except (NotFound, InvalidPath) as error:
            hint = "Name it as the page Models does: its folder, a slash, its name."
            raise PageError(f"There is no model '{model}'.", hint=hint, status=error.status) from error
        except ComfywardError as error:
            raise PageError(error.message, hint=error.hint, status=error.status) from error
        return request.redirect("/fleet/memory")

    async def unpin(self, request: PageRequest) -> Response:
        await self._pins.remove(request.account, request["pin_id"])
        return request.redirect("/fleet/memory")


def _workers(form: FormData) -> int:
    """Raises PageError."""
    text = text_of(form, "workers", 10) or "1"
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise PageError(f"'{text}' is not a number of workers.")
    return int(text)
