"""A scriptable ComfyUI, for faults that a real one does not produce on demand. A server, started like the real one.

What it does is written in the graph: FakeSave writes a file, FakeWait goes on when the file `input/<name>` … see NODES.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from aiohttp import web

NODES = {
    "FakeSave": {"text": ["STRING", {}]},  # writes output/<prefix>_00001_.txt
    "FakeWait": {"seconds": ["FLOAT", {}]},  # steps of 0.05 s; listens to interrupts
    "FakeDeaf": {"seconds": ["FLOAT", {}]},  # does not listen to interrupts
    "FakeCrash": {"times": ["INT", {}]},  # ends the process, as often as `times` (over restarts)
    "FakeOom": {"times": ["INT", {}]},  # fails with CUDA's out-of-memory error, as often as `times`
    "FakeGpuFault": {"times": ["INT", {}]},
    "FakeError": {"message": ["STRING", {}]},
    "FakeSilent": {},  # finishes without a message on the websocket
    "FakePartial": {},  # accepted with node_errors
    "FakeLink": {"target": ["STRING", {}]},  # leaves a symbolic link among the outputs
}


class FakeComfyUI:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.history: dict[str, dict] = {}
        self.running: list[str] = []
        self.pending: list[str] = []
        self.interrupted: set[str] = set()
        self.turn = asyncio.Lock()
        self.tasks: set[asyncio.Task] = set()

    def count(self, name: str) -> int:
        """How often something happened in this folder, over restarts of the process."""
        path = self.base / "user" / f"count-{name}"
        count = int(path.read_text()) if path.exists() else 0
        path.write_text(str(count + 1))
        return count

    async def prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        classes = {node["class_type"] for node in body["prompt"].values()}
        if unknown := classes - set(NODES):
            error = {"type": "invalid_prompt", "message": f"Cannot execute because node {min(unknown)} does not exist."}
            return web.json_response({"error": error, "node_errors": {}}, status=400)
        if "FakePartial" in classes:
            errors = {
                "1": {"errors": [{"type": "x", "message": "dropped", "details": ""}], "class_type": "FakePartial"}
            }
            return web.json_response({"prompt_id": body["prompt_id"], "node_errors": errors})
        self.pending.append(body["prompt_id"])
        task = asyncio.create_task(self.execute(body))
        self.tasks.add(task)
        return web.json_response({"prompt_id": body["prompt_id"], "number": 1, "node_errors": {}})

    async def execute(self, body: dict) -> None:
        prompt_id, client_id = body["prompt_id"], body["client_id"]
        async with self.turn:
            if prompt_id not in self.pending:
                return
            self.pending.remove(prompt_id)
            self.running.append(prompt_id)
            messages, silent, outputs = [["execution_start", {"prompt_id": prompt_id}]], False, {}
            await self.say(client_id, "execution_cached", {"nodes": [], "prompt_id": prompt_id})
            succeeded = True
            for node_id, node in body["prompt"].items():
                silent = silent or node["class_type"] == "FakeSilent"
                if not silent:
                    await self.say(client_id, "executing", {"node": node_id, "prompt_id": prompt_id})
                failure = await self.run_node(prompt_id, client_id, node_id, node, outputs)
                if failure is not None:
                    messages.append(failure)
                    succeeded = False
                    break
            status = {"status_str": "success" if succeeded else "error", "completed": succeeded, "messages": messages}
            self.history[prompt_id] = {"outputs": outputs, "status": status}
            self.running.remove(prompt_id)
            if not silent:
                await self.say(client_id, "executing", {"node": None, "prompt_id": prompt_id})

    async def run_node(self, prompt_id, client_id, node_id, node, outputs):
        inputs = node["inputs"]

        def error(kind, message):
            about = {"exception_type": kind, "exception_message": message, "traceback": ['  File "fake.py"\n']}
            return [
                "execution_error",
                {"prompt_id": prompt_id, "node_id": node_id, "node_type": node["class_type"], **about},
            ]

        match node["class_type"]:
            case "FakeSave":
                name = f"{inputs.get('prefix', 'fake')}_00001_.txt"
                text = inputs["text"]
                found = self.base / "input" / text
                (self.base / "output" / name).write_text(found.read_text() if found.is_file() else text)
                outputs[node_id] = {"files": [{"filename": name, "subfolder": "", "type": "output"}]}
            case "FakeWait" | "FakeDeaf":
                steps = round(inputs["seconds"] / 0.05)
                for step in range(steps):
                    if node["class_type"] == "FakeWait" and prompt_id in self.interrupted:
                        return ["execution_interrupted", {"prompt_id": prompt_id, "node_id": node_id}]
                    about = {"value": step, "max": steps, "prompt_id": prompt_id, "node": node_id}
                    await self.say(client_id, "progress", about)
                    await asyncio.sleep(0.05)
            case "FakeCrash" if self.count("crash") < inputs["times"]:
                os._exit(139)
            case "FakeOom" if self.count("oom") < inputs["times"]:
                return error("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 20.00 GiB")
            case "FakeGpuFault" if self.count("fault") < inputs["times"]:
                return error("RuntimeError", "CUDA error: an illegal memory access was encountered")
            case "FakeError":
                return error("ValueError", inputs["message"])
            case "FakeLink":
                (self.base / "output" / "link.txt").symlink_to(inputs["target"])
        return None

    async def say(self, client_id: str, kind: str, data: dict) -> None:
        socket = self.sockets.get(client_id)
        if socket is not None and not socket.closed:
            await socket.send_json({"type": kind, "data": data})

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets[request.query["clientId"]] = socket
        async for _ in socket:
            pass
        return socket

    async def get_history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        found = self.history.get(prompt_id)
        return web.json_response({prompt_id: found} if found else {})

    async def post_history(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json()).get("delete", []):
            self.history.pop(prompt_id, None)
        return web.Response()

    async def get_queue(self, request: web.Request) -> web.Response:
        running, pending = ([[0, each] for each in queue] for queue in (self.running, self.pending))
        return web.json_response({"queue_running": list(running), "queue_pending": list(pending)})

    async def post_queue(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json()).get("delete", []):
            if prompt_id in self.pending:
                self.pending.remove(prompt_id)
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        self.interrupted.add((await request.json())["prompt_id"])
        return web.Response()

    async def nothing(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def catalog(self, request: web.Request) -> web.Response:
        return web.json_response({"comfyui_version": "fake", "folders": {}, "unchecked": {}, "models": {}})

    async def object_info(self, request: web.Request) -> web.Response:
        info = {
            name: {"input": {"required": inputs}, "output": [], "output_node": True, "python_module": "nodes"}
            for name, inputs in NODES.items()
        }
        return web.json_response(info)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base-directory", type=Path, required=True)
    arguments, _ = parser.parse_known_args()
    fake = FakeComfyUI(arguments.base_directory)
    app = web.Application()
    app.add_routes(
        [
            web.post("/prompt", fake.prompt),
            web.get("/ws", fake.websocket),
            web.get("/history/{id}", fake.get_history),
            web.post("/history", fake.post_history),
            web.get("/queue", fake.get_queue),
            web.post("/queue", fake.post_queue),
            web.post("/interrupt", fake.interrupt),
            web.post("/free", fake.nothing),
            web.get("/system_stats", fake.nothing),
            web.get("/comfyward/catalog", fake.catalog),
            web.get("/object_info", fake.object_info),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, os.environ["COMFYWARD_SOCKET"]).start()
    sys.stdout.write("the fake ComfyUI is ready\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
