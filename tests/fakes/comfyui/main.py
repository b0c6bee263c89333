"""A scriptable ComfyUI, for faults that a real one does not produce on demand. A server, started like the real one.

What it does is written in the graph: FakeSave writes a file, FakeWait takes some seconds … see NODES.
"""

import argparse
import asyncio
import base64
import contextlib
import functools
import importlib.util
import itertools
import json
import mmap
import os
import signal
import socket
import stat
import struct
import sys
import tempfile
import threading
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

NODES = {
    "FakeSave": {"text": ["STRING", {}]},  # writes output/<prefix>_00001_.txt
    "FakeCopy": {"file": ["STRING", {}]},  # writes an input file out under its own name
    "FakeWait": {"seconds": ["FLOAT", {}]},  # steps of 0.05 s; listens to interrupts, and to SIGUSR1: no longer
    "FakeDeaf": {"seconds": ["FLOAT", {}]},  # does not listen to interrupts
    "FakeWaitAsTold": {"file": ["STRING", {}]},  # as FakeWait, for the seconds that an input file tells
    "FakeCrash": {"times": ["INT", {}]},  # ends the process, as often as `times` (over restarts)
    "FakeOom": {"times": ["INT", {}]},  # fails with CUDA's out-of-memory error, as often as `times`
    "FakeGpuFault": {"times": ["INT", {}]},
    "FakeError": {"message": ["STRING", {}]},
    "FakeSilent": {},  # finishes without a message on the websocket
    "FakePartial": {},  # accepted with node_errors
    "FakeLink": {"target": ["STRING", {}]},  # leaves a symbolic link among the outputs
    "FakeHalf": {"name": ["STRING", {}]},  # writes half a file and fails
    "FakeText": {"text": ["STRING", {}]},
    "FakeQuiet": {"name": ["STRING", {}]},  # writes output/<name> and shows nothing
    "FakeCycle": {},  # an error that the history calls a success
    "FakeBlocked": {},  # an error of which only the websocket speaks
    "FakeStops": {},  # interrupts the run that it is in
    "FakeNumbers": {"value": ["FLOAT", {}]},  # shows numbers that JSON does not have
    "FakeDeep": {},  # shows lists in lists in lists
    "FakePictures": {"sizes": ["STRING", {}]},  # sends PNGs of these sizes on the websocket
    "FakePreviews": {"count": ["INT", {}]},  # sends previews of work in progress
    "FakeExpands": {"nodes": ["INT", {}], "fails": ["BOOLEAN", {}]},  # becomes as many nodes as it runs
    "FakeColours": {},  # logs as programs for terminals do
    "FakeLitter": {"what": ["STRING", {}]},  # leaves what stops whoever reads it, see LITTER
    "FakeSwap": {"target": ["STRING", {}]},  # swaps a folder among the outputs for a link, again and again
    "FakeEndless": {"where": ["STRING", {}]},  # makes ComfyUI answer without end: history, or a message; see CODINGS
    "FakeStopped": {},  # stops the whole process
    "FakeGreedy": {"what": ["STRING", {}]},  # takes of its host without end, see GREED
    "FakeLook": {},  # shows the names of all files that it finds where files of runs are linked
    "EmptyImage": {},  # with SaveImage: a picture of one pixel
    "SaveImage": {},
    "FakeSpy": {"marker": ["STRING", {}]},  # leaves its marker wherever it can, and shows all markers that it finds
}
NOT_OUTPUTS = {"FakePreviews", "EmptyImage"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


MANY_BYTES = 300 << 20
MANY_FILES = 30_000
CROWD_FILES = 25_000


def deep(base: Path) -> list[str]:
    """Folders in folders, and a picture in the last one, in each place that a run may write to."""
    for name in ("output", "temp", "user", "input"):
        here = os.open(base / name, os.O_RDONLY)
        for _ in range(1500):
            with contextlib.suppress(FileExistsError):
                os.mkdir("a", dir_fd=here)
            inner = os.open("a", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(os.open("picture.png", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
    return ["/".join([*["a"] * 1500, "picture.png"])]


def pipes(base: Path) -> list[str]:
    """A pipe, a socket, and a folder without permissions, under names of pictures."""
    os.mkfifo(base / "output" / "pipe.png")
    os.mkfifo(base / "temp" / "pipe.png")
    bound = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(base / "output")
    bound.bind("socket.png")
    os.chdir(here)
    (base / "output" / "closed" / "inner").mkdir(parents=True)
    (base / "output" / "closed").chmod(0)
    return ["pipe.png", "socket.png", "closed/inner"]


def sparse(base: Path) -> list[str]:
    """Files of terabytes that hold nothing."""
    names = [f"sparse{number}.png" for number in range(8)]
    for name in names:
        with (base / "output" / name).open("wb") as file:
            for size in (15 << 40, 1 << 40, 1 << 34):
                try:
                    file.truncate(size)
                    break
                except OSError:
                    continue
    return names


def names(base: Path) -> list[str]:
    """Files whose names are the same text, or hardly text at all; all of the same bytes."""
    output = os.fsencode(base / "output")
    for name in (b"a\xff.txt", rb"a\udcff.txt", b"line\nfeed.txt", "\u202e.txt".encode(), b"n" * 251 + b".txt", b"-rf"):
        with open(output + b"/" + name, "wb") as file:
            file.write(b"the same bytes")
    return []


def many(base: Path) -> list[str]:
    for number in range(MANY_FILES):
        (base / "output" / f"{number}.txt").touch()
    return []


def swap(base: Path, target: str) -> list[str]:
    """A folder of secrets that becomes a link to the host's, and a folder again, without end."""
    top = base / "output" / "top"
    (top / "secrets").mkdir(parents=True)
    (top / "secrets" / "key.txt").write_text("the node's own")
    opened = os.open(top, os.O_RDONLY)

    def without_end() -> None:
        while True:
            os.rename("secrets", "aside", src_dir_fd=opened, dst_dir_fd=opened)
            os.symlink(target, "secrets", dir_fd=opened)
            os.unlink("secrets", dir_fd=opened)
            os.rename("aside", "secrets", src_dir_fd=opened, dst_dir_fd=opened)

    threading.Thread(target=without_end, daemon=True).start()
    return ["top/secrets/key.txt"]


def crowd(base: Path) -> list[str]:
    """Files without number where files of runs are linked, some of them in a folder, and one result."""
    for folder in (base / "input" / "crowd", base / "models" / "loras"):
        folder.mkdir(exist_ok=True)
        for number in range(CROWD_FILES):
            os.close(os.open(folder / f"{number}", os.O_CREAT | os.O_WRONLY))
    (base / "output" / "result.txt").write_text("the result")
    return ["result.txt"]


def odd(base: Path) -> list[str]:
    """Files of every other kind: one that nobody may read, two names of one, a device, one with attributes."""
    output = base / "output"
    for name in ("closed.txt", "twice.txt", "noted.txt"):
        (output / name).write_text(name)
    os.link(output / "twice.txt", output / "again.txt")
    (output / "closed.txt").chmod(0)
    with contextlib.suppress(OSError):
        os.setxattr(output / "noted.txt", "user.note", b"x" * 3000)
    for kind in (stat.S_IFCHR, stat.S_IFBLK):
        with contextlib.suppress(OSError):
            os.mknod(output / f"device{kind}.png", kind | 0o666, 0)
    return ["closed.txt", "device8192.png"]


LITTER = {"odd": odd, "deep": deep, "pipes": pipes, "sparse": sparse, "names": names, "many": many, "crowd": crowd}


def memory(base: Path) -> None:
    """More and more memory of this process."""
    held = []
    while True:
        held.append(b"x" * (16 << 20))


def children(base: Path) -> None:
    """Memory of many processes, each of which takes little."""
    while True:
        if os.fork() == 0:
            held = b"x" * (100 << 20)
            while held:
                signal.pause()
        time.sleep(0.05)


def processes(base: Path) -> None:
    """Processes that do nothing, and stay."""
    while True:
        if os.fork() == 0:
            while True:
                signal.pause()


def disk(base: Path, folder: str) -> None:
    """Files of no special size, in one of ComfyUI's own folders."""
    for number in itertools.count():
        (base / folder / f"{number}.bin").write_bytes(bytes(4 << 20))
        time.sleep(0.005)


def removed(base: Path) -> None:
    """Files that are in no folder any more, and stay open."""
    held = []
    for number in itertools.count():
        path = base / "output" / f"{number}.bin"
        held.append(path.open("wb"))
        held[-1].write(bytes(4 << 20))
        held[-1].flush()
        path.unlink()
        time.sleep(0.005)


def mapped(base: Path) -> None:
    """Files that are in no folder any more, and are not open either: they stay mapped."""
    held = []
    for number in itertools.count():
        path = base / "output" / f"{number}.bin"
        with path.open("w+b") as file:
            file.truncate(4 << 20)
            held.append(mmap.mmap(file.fileno(), 4 << 20))
        held[-1][:] = b"x" * (4 << 20)
        path.unlink()
        time.sleep(0.005)


def log(base: Path) -> None:
    """Lines without end in ComfyUI's log."""
    while True:
        os.write(1, b"x" * (1 << 17) + b"\n")
        time.sleep(0.002)


GREED = {
    "memory": memory,
    "children": children,
    "processes": processes,
    "log": log,
    "removed": removed,
    "mapped": mapped,
}
GREED |= {name: functools.partial(disk, folder=name) for name in ("output", "temp", "user")}


def _gzip() -> Callable[[bytes], bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return lambda data: packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)


def _brotli() -> Callable[[bytes], bytes]:
    import brotli  # not where it runs in an environment of its own

    packer = brotli.Compressor(quality=1)
    return lambda data: packer.process(data) + packer.flush()


CODINGS = {"": lambda: lambda data: data, "gzip": _gzip, "br": _brotli}


class Prompt:
    """One prompt on its way, told in ComfyUI's messages; the extension's part of them is told as the extension does."""

    def __init__(self, fake: "FakeComfyUI", body: dict) -> None:
        self.fake, self.base = fake, fake.base
        self.prompt_id, self.client_id, self.prompt = body["prompt_id"], body["client_id"], body["prompt"]
        self.silent = False
        self.outputs, self.meta, self.states, self.executed, self.messages = {}, {}, {}, [], []
        self.about = {"prompt_id": self.prompt_id}

    async def execute(self) -> None:
        await self.note("execution_start", {})
        await self.note("execution_cached", {"nodes": []})
        succeeded = True
        for node_id, node in self.prompt.items():
            self.silent = self.silent or node["class_type"] == "FakeSilent"
            succeeded = await self.execute_node(node_id, node)
            if not succeeded or node["class_type"] == "FakeCycle":
                break
        else:
            await self.note("execution_success", {})
        status = {"status_str": "success" if succeeded else "error", "completed": succeeded, "messages": self.messages}
        item = [1, self.prompt_id, self.prompt, {}, list(self.prompt)]
        self.fake.history[self.prompt_id] = {
            "prompt": item,
            "outputs": self.outputs,
            "meta": self.meta,
            "status": status,
        }

    async def note(self, kind: str, data: dict) -> None:
        """A message that the history keeps too."""
        data = {**data, **self.about, "timestamp": 1}
        self.messages.append([kind, data])
        await self.say(kind, data)

    async def say(self, kind: str, data: dict) -> None:
        if not self.silent:
            await self.fake.say(self.client_id, kind, {**data, **self.about})

    async def execute_node(self, node_id, node, display=None, parent=None) -> bool:
        display = display or node_id
        await self.state(node_id, "running", 0, 1, display, parent)
        files = [[path.name, *_size_and_time(path)] for path in (self.base / "output").iterdir() if path.is_file()]
        files = files if len(files) <= 1000 else []  # as our extension
        extension = {"is_output": node["class_type"] not in NOT_OUTPUTS, "files": files}
        await self.say("executing", {"node": node_id, "display_node": display, "comfyward": extension})
        try:
            shown = await self.run_node(node_id, node)
        except (TypeError, ValueError, KeyError, OSError) as error:  # inputs of kinds that no scenario means
            await self.fail(node_id, node["class_type"], type(error).__name__, str(error))
            return False
        if shown is None:
            return False
        if shown:
            self.outputs[node_id] = shown
            about = {"node_id": node_id, "display_node": display, "parent_node": parent}
            self.meta[node_id] = {**about, "real_node_id": self.real(node_id)}
            await self.say("executed", {"node": node_id, "display_node": display, "output": shown})
        self.executed.append(node_id)
        await self.state(node_id, "finished", 1, 1, display, parent)
        return True

    def real(self, node_id: str) -> str:
        return node_id.partition(".")[0]

    async def state(self, node_id, state, value, maximum, display=None, parent=None) -> None:
        known = {"node_id": node_id, "display_node_id": display or node_id, "parent_node_id": parent}
        known |= {"real_node_id": self.real(node_id), **self.about, **self.states.get(node_id, {})}
        self.states[node_id] = known | {"state": state, "value": value, "max": maximum}
        await self.say("progress_state", {"nodes": self.states})

    async def fail(self, node_id: str, class_type: str, kind: str, message: str) -> None:
        about = {"node_id": self.real(node_id), "node_type": class_type, "executed": self.executed}
        about |= {"exception_type": kind, "exception_message": message, "traceback": ['  File "fake.py"\n']}
        inputs = {name: [value] for name, value in self.prompt[self.real(node_id)]["inputs"].items()}
        await self.note("execution_error", {**about, "current_inputs": inputs, "current_outputs": self.executed[:1]})

    async def run_node_of_pack(self, node_id, kind: type, node) -> dict | None:
        """As the real one runs nodes of its first API, but for results that other nodes use."""
        try:
            result = await asyncio.to_thread(getattr(kind(), kind.FUNCTION), **node["inputs"])
        except Exception as error:
            return await self.fail(node_id, node["class_type"], type(error).__name__, str(error))
        return result["ui"] if isinstance(result, dict) else {}

    async def run_node(self, node_id, node) -> dict | None:
        """The results of a node; None when it failed."""
        inputs, output = node["inputs"], self.base / "output"
        fake, class_type = self.fake, node["class_type"]
        if class_type in fake.packs.nodes:
            return await self.run_node_of_pack(node_id, fake.packs.nodes[class_type], node)
        match class_type:
            case "FakeSave":
                name = inputs.get("name") or f"{inputs.get('prefix', 'fake')}_00001_.txt"
                text, kind = inputs["text"], inputs.get("kind", "output")
                found = self.base / "input" / text
                (self.base / kind / name).write_text(found.read_text() if found.is_file() else text)
                return {"files": [{"filename": name, "subfolder": "", "type": kind}]}
            case "FakeCopy":
                path = inputs["file"].removesuffix(" [input]")
                folder, _, name = path.rpartition("/")
                (output / folder).mkdir(exist_ok=True)
                (output / path).write_bytes((self.base / "input" / path).read_bytes())
                return {"files": [{"filename": name, "subfolder": folder, "type": "output"}]}
            case "FakeText":
                return {"text": [inputs["text"]]}
            case "FakeQuiet":
                (output / inputs["name"]).write_text("whole")
            case "FakeHalf":
                (output / inputs["name"]).write_text("hal")
                return await self.fail(node_id, class_type, "RuntimeError", "the encoder broke")
            case "FakeWait" | "FakeWaitAsTold" | "FakeDeaf":
                told = inputs["seconds"] if "seconds" in inputs else (self.base / "input" / inputs["file"]).read_text()
                steps = round(float(told) / 0.05)
                for step in range(steps):
                    if class_type != "FakeDeaf" and self.prompt_id in fake.interrupted:
                        about = {"node_id": node_id, "node_type": class_type, "executed": self.executed}
                        return await self.note("execution_interrupted", about)
                    if fake.wait_is_over:
                        fake.wait_is_over = False
                        break
                    await self.state(node_id, "running", step, steps)
                    await self.say("progress", {"value": step, "max": steps, "node": node_id})
                    await asyncio.sleep(0.05)
            case "FakeCrash" if fake.count("crash", inputs) < inputs["times"]:
                os._exit(139)
            case "FakeOom" if fake.count("oom", inputs) < inputs["times"]:
                message = "CUDA out of memory. Tried to allocate 20.00 GiB"
                return await self.fail(node_id, class_type, "torch.OutOfMemoryError", message)
            case "FakeGpuFault" if fake.count("fault", inputs) < inputs["times"]:
                message = "CUDA error: an illegal memory access was encountered"
                return await self.fail(node_id, class_type, "RuntimeError", message)
            case "FakeError":
                return await self.fail(node_id, class_type, "ValueError", inputs["message"])
            case "FakeCycle":
                await self.fail(node_id, class_type, "graph.DependencyCycleError", "Dependency cycle detected")
            case "FakeBlocked":
                about = {"node_id": node_id, "node_type": class_type, "executed": self.executed}
                error = {"exception_type": "ExecutionBlocked", "exception_message": "Execution Blocked: no face found"}
                lists = {"traceback": [], "current_inputs": [], "current_outputs": []}
                await self.say("execution_error", {**about, **error, **lists})
            case "FakeStops":
                about = {"node_id": node_id, "node_type": class_type, "executed": self.executed}
                return await self.note("execution_interrupted", about)
            case "FakeNumbers":
                inputs["value"] = float(inputs["value"])  # as ComfyUI does when it validates
                return {"values": [float("nan"), float("inf"), float("-inf"), 1.5], "text": ["half a letter: \ud83d"]}
            case "FakeDeep":
                deep: list = []
                for _ in range(5000):
                    deep = [deep]
                self.outputs[node_id] = {"deep": deep}  # whose message cannot be written
            case "FakePictures":
                for number, size in enumerate(inputs["sizes"].split(",")):
                    picture = b"\x89PNG" + bytes([number]) * int(size)
                    about = json.dumps({"node_id": node_id, "image_type": "image/png", **self.about}).encode()
                    await fake.show(self.client_id, struct.pack(">II", 4, len(about)) + about + picture)
            case "FakePreviews":
                for number in range(inputs["count"]):
                    picture = b"\x89PNG preview %d" % number + bytes(inputs.get("size", 0))
                    await fake.show(self.client_id, struct.pack(">II", 1, 2) + picture)
            case "FakeExpands":
                for number in range(inputs["nodes"]):
                    fails = inputs.get("fails") and number == inputs["nodes"] - 1
                    child = {"class_type": "FakeError" if fails else "FakeSave", "inputs": {"text": f"{number}"}}
                    child["inputs"] |= {"prefix": f"child{number}", "message": "a child failed"}
                    if not await self.execute_node(f"{node_id}.0.0.{number}", child, node_id, node_id):
                        return None
            case "FakeColours":
                sys.stdout.write("\x1b[32mgreen\x1b[0m line\n\x1b]0;title\x07\r 10%|#   |\r 50%|##  |\r100%|####|\n")
                sys.stdout.flush()
            case "FakeLitter":
                left = LITTER[inputs["what"]](self.base)
                return {"images": [{"filename": name, "subfolder": "", "type": "output"} for name in left]}
            case "FakeSwap":
                left = swap(self.base, inputs["target"])
                return {"images": [{"filename": name, "subfolder": "", "type": "output"} for name in left]}
            case "FakeEndless" if inputs["where"] == "message":
                await fake.show(self.client_id, struct.pack(">II", 1, 2) + bytes(MANY_BYTES))
            case "FakeEndless":
                fake.endless[self.prompt_id] = inputs["where"].partition(" ")[2]
            case "FakeStopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "FakeGreedy":
                try:
                    GREED[inputs["what"]](self.base)
                except (MemoryError, OSError) as error:
                    return await self.fail(node_id, class_type, type(error).__name__, str(error))
            case "FakeLook":
                paths = [path for kind in ("input", "models") for path in (self.base / kind).rglob("*")]
                return {"text": [f"found {sorted(path.name for path in paths if not path.is_dir())}"]}
            case "SaveImage":
                name = f"{inputs['filename_prefix']}_00001_.png"
                (output / name).write_bytes(base64.b64decode(PIXEL))
                return {"images": [{"filename": name, "subfolder": "", "type": "output"}]}
            case "FakeSpy":
                return {"text": [" ".join(fake.spy(inputs["marker"]))]}
            case "FakeLink":
                for name in inputs.get("names", ["link.txt"]):
                    (output / name).symlink_to(inputs["target"])
        return {}


def _size_and_time(path: Path) -> tuple[int, int]:
    stat = path.lstat()
    return stat.st_size, stat.st_mtime_ns


class Packs:
    """Packs are imported and told of as the real one does. Nodes of theirs that have a FUNCTION can be run."""

    def __init__(self) -> None:
        self.classes: dict[str, dict] = {}
        self.nodes: dict[str, type] = {}
        self.failures: list[dict] = []
        self.web_folders: dict[str, Path] = {}
        self.told = ["", "Import times for custom nodes:"]

    def load(self, paths: dict) -> None:
        folders = [Path(section["custom_nodes"]) for section in paths.values() if "custom_nodes" in section]
        for pack in (entry for folder in folders if folder.name != "extension" for entry in sorted(folder.iterdir())):
            try:
                self.load_pack(pack)
                failed = ""
            except Exception as error:
                failed = " (IMPORT FAILED)"
                root = os.path.dirname(os.path.abspath(sys.argv[0])) + os.sep
                trace = traceback.format_exc().replace(root, "")
                reason = {"error": f"{type(error).__name__}: {error}", "traceback": trace}
                self.failures.append({"name": pack.name, "kind": "pack", "classes": [], **reason})
            self.told.append(f"   0.1 seconds{failed}: {pack}")
        sys.stdout.write("\n".join(self.told) + "\n")

    def load_pack(self, pack: Path) -> None:
        spec = importlib.util.spec_from_file_location(pack.name, pack / "__init__.py")
        module = sys.modules[pack.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        about = {"input": {}, "output": [], "python_module": f"custom_nodes.{pack.name}"}
        for name, node in module.NODE_CLASS_MAPPINGS.items():
            self.classes[name] = {**about, "output_node": bool(getattr(node, "OUTPUT_NODE", False))}
        self.nodes |= {name: node for name, node in module.NODE_CLASS_MAPPINGS.items() if hasattr(node, "FUNCTION")}
        if hasattr(module, "WEB_DIRECTORY"):
            self.web_folders[pack.name] = pack / module.WEB_DIRECTORY


class FakeComfyUI:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.packs = Packs()
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.history: dict[str, dict] = {}
        self.markers: set[str] = set()
        self.running: list[str] = []
        self.pending: list[str] = []
        self.interrupted: set[str] = set()
        self.wait_is_over = False  # told by a signal, for one wait
        signal.signal(signal.SIGUSR1, self.end_wait)
        self.endless: dict[str, str] = {}  # prompts whose history has no end, with its coding
        self.turn = asyncio.Lock()
        self.tasks: set[asyncio.Task] = set()

    def end_wait(self, *_: object) -> None:
        self.wait_is_over = True

    def count(self, what: str, inputs: dict) -> int:
        """Counts, over restarts of the process, how often something happened in this folder to nodes of one name."""
        path = self.base / "user" / f"count-{what}-{inputs.get('name', '')}"
        count = int(path.read_text()) if path.exists() else 0
        path.write_text(str(count + 1))
        return count

    def spy(self, marker: str) -> list[str]:
        """All markers that earlier runs left in memory and in folders; leaves one more in each of these places."""
        own = [self.base / name for name in ("user", "temp", "input", "models")]
        folders = {*own, Path.home(), Path(tempfile.gettempdir()), Path("/dev/shm"), Path("/tmp")}
        found = self.markers.union(path.read_text() for folder in folders for path in folder.glob("spy-marker-*"))
        for folder in folders:
            with contextlib.suppress(OSError):
                (folder / f"spy-marker-{marker}").write_text(marker)
        self.markers.add(marker)
        return sorted(found)

    async def prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        classes = {node["class_type"] for node in body["prompt"].values()}
        if unknown := classes - set(NODES) - set(self.packs.nodes):
            error = {"type": "invalid_prompt", "message": f"Cannot execute because node {min(unknown)} does not exist."}
            return web.json_response({"error": error, "node_errors": {}}, status=400)
        if "FakePartial" in classes:
            errors = {
                "1": {"errors": [{"type": "x", "message": "dropped", "details": ""}], "class_type": "FakePartial"}
            }
            return web.json_response({"prompt_id": body["prompt_id"], "node_errors": errors})
        self.history.clear()  # as our extension
        self.pending.append(body["prompt_id"])
        task = asyncio.create_task(self.execute(body))
        self.tasks.add(task)
        return web.json_response({"prompt_id": body["prompt_id"], "number": 1, "node_errors": {}})

    async def execute(self, body: dict) -> None:
        async with self.turn:
            if body["prompt_id"] in self.pending:
                self.pending.remove(body["prompt_id"])
                self.running.append(body["prompt_id"])
                await Prompt(self, body).execute()
                self.running.remove(body["prompt_id"])
                if not any(node["class_type"] == "FakeSilent" for node in body["prompt"].values()):
                    over = {"node": None, "prompt_id": body["prompt_id"], **self.last_words(body["prompt_id"])}
                    await self.say(body["client_id"], "executing", over)

    def last_words(self, prompt_id: str) -> dict:
        """A short history, as our extension adds it."""
        with contextlib.suppress(KeyError, ValueError, RecursionError):
            text = json.dumps({name: self.history[prompt_id][name] for name in ("outputs", "status", "meta")})
            if len(text) <= 64 << 10 and prompt_id not in self.endless:
                return {"comfyward": {"history": json.loads(text)}}
        return {}

    async def say(self, client_id: str, kind: str, data: dict) -> None:
        socket = self.sockets.get(client_id)
        if socket is not None and not socket.closed:
            await socket.send_json({"type": kind, "data": data})

    async def show(self, client_id: str, data: bytes) -> None:
        await self.sockets[client_id].send_bytes(data)

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self.sockets[request.query["clientId"]] = socket
        async for _ in socket:
            pass
        return socket

    async def get_history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["id"]
        if prompt_id in self.endless:
            return await self.answer_without_end(request, self.endless[prompt_id])
        found = self.history.get(prompt_id)
        return web.json_response({prompt_id: found} if found else {})

    async def answer_without_end(self, request: web.Request, coding: str) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Encoding": coding} if coding else {})
        await answer.prepare(request)
        packed = CODINGS[coding]()
        while True:
            await answer.write(packed(b" " * (16 << 20)))

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

    async def system_stats(self, request: web.Request) -> web.Response:
        device = {"name": "cpu", "type": "cpu", "index": None, "vram_total": 8 << 30, "vram_free": 5 << 30}
        device |= {"torch_vram_total": 8 << 30, "torch_vram_free": 5 << 30}
        system = {"ram_total": 8 << 30, "ram_free": 5 << 30, "pytorch_version": "2.9.1+cpu"}
        return web.json_response({"system": system, "devices": [device]})

    async def model_info(self, request: web.Request) -> web.Response:
        if request.match_info["folder"] != "checkpoints":
            return web.Response(status=404)
        return web.json_response({"house.safetensors": {"base_model": "sdxl", "is_inpaint": False, "type": "eps"}})

    async def nothing(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def catalog(self, request: web.Request) -> web.Response:
        models = {"checkpoints": ["house.safetensors"]}
        catalog = {"comfyui_version": "fake", "folders": {}, "unchecked": {}, "models": models}
        return web.json_response({**catalog, "failures": self.packs.failures})

    async def web_files(self, request: web.Request) -> web.Response:
        found = [
            [name, f"/extensions/{name}/{path.relative_to(folder)}"]
            for name, folder in self.packs.web_folders.items()
            for path in folder.rglob("*")
        ]
        return web.json_response({"files": found, "routes": []})

    async def object_info(self, request: web.Request) -> web.Response:
        info = {
            name: {
                "input": {"required": inputs},
                "output": [],
                "output_node": name not in NOT_OUTPUTS,
                "python_module": "nodes",
            }
            for name, inputs in NODES.items()
        }
        return web.json_response({**info, **self.packs.classes})


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base-directory", type=Path, required=True)
    parser.add_argument("--extra-model-paths-config", type=Path, nargs="+", required=True)
    arguments, _ = parser.parse_known_args()
    fake = FakeComfyUI(arguments.base_directory)
    fake.packs.load(json.loads(arguments.extra_model_paths_config[0].read_text()))
    app = web.Application()
    app.add_routes(
        [
            web.post("/prompt", fake.prompt),
            web.get("/ws", fake.websocket),
            web.get("/history/{id}", fake.get_history),
            web.get("/queue", fake.get_queue),
            web.post("/queue", fake.post_queue),
            web.post("/interrupt", fake.interrupt),
            web.post("/free", fake.nothing),
            web.get("/system_stats", fake.system_stats),
            web.get("/comfyward/catalog", fake.catalog),
            web.get("/comfyward/web", fake.web_files),
            web.get("/object_info", fake.object_info),
            web.get("/api/etn/model_info/{folder}", fake.model_info),
        ]
    )
    app.add_routes([web.static(f"/extensions/{name}", path) for name, path in fake.packs.web_folders.items()])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, socket.socket(fileno=int(os.environ["COMFYWARD_LISTENER"]))).start()
    sys.stdout.write("the fake ComfyUI is ready\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
