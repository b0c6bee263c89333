"""Brings scripts for the editor, which import what a route answers, and routes whose answers nobody wants."""

import os

from aiohttp import web
from server import PromptServer

WEB_DIRECTORY = "./web/js"
HERE = os.path.dirname(os.path.realpath(__file__))
routes = PromptServer.instance.routes


class Dial:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {})}}

    def run(self, text):
        return {"ui": {"text": [text]}}


NODE_CLASS_MAPPINGS = {"TestDial": Dial}


@routes.get("/extends/config.js")
async def config(request):
    return web.Response(text="export const label = 'from a route';", content_type="text/javascript")


@routes.get("/extends/version")
async def version(request):
    return web.json_response({"version": 1})


@routes.get("/extends/{name}/file")
async def named(request):
    return web.Response(text="needs a name")


@routes.get("/extends/parts/{file}")
async def part(request):
    return web.FileResponse(os.path.join(HERE, "web", "parts", os.path.basename(request.match_info["file"])))


@routes.get("/extends/large")
async def large(request):
    return web.Response(body=bytes((256 << 10) + 1))


@routes.get("/extends/moved")
async def moved(request):
    raise web.HTTPFound("/extends/version")


@routes.get("/extends/reboot")
async def reboot(request):
    os._exit(1)


@routes.post("/extends/posted")
async def posted(request):
    return web.Response(text="posted")


PromptServer.instance.app.add_routes([web.static("/extends_static", os.path.join(HERE, "static"))])
