"""Custom nodes for tests: a slow one, a failing one, and one that tries to do harm."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import comfy.utils
import execution
import folder_paths
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder
from server import PromptServer

torch.set_num_threads(1)  # several ComfyUIs on two cores: threads that spin for each other would take ten times as long


class TestSteps:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"steps": ("INT", {"default": 1, "min": 1, "max": 100000})},
            "optional": {"after": ("IMAGE",)},  # what is to come before: ComfyUI orders independent nodes at random
        }

    def run(self, steps, after=None):
        bar = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            time.sleep(0.05)
            bar.update(1)
        return (torch.zeros(1, 8, 8, 3),)


class TestFails:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        raise ValueError("this node always fails")


class TestSecret:
    """Tells which of its hidden credentials it was given."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "hidden": {"api_key": "API_KEY_COMFY_ORG"}}

    def run(self, api_key=None):
        return {"ui": {"text": [f"given: {api_key == 'partner-key'}"]}}


class TestBytes:
    """Leaves a file of random bytes."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",), "size": ("INT", {"default": 1, "max": 1 << 30})}}

    def run(self, images, size):
        (Path(folder_paths.get_output_directory()) / "bytes.bin").write_bytes(os.urandom(size))
        return {"ui": {}}


class TestExpands:
    """Becomes as many pictures as `count`, each saved by a node of its own; the last fails, or waits for itself."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        ends = (["well", "failing", "in a cycle"],)
        return {"required": {"count": ("INT", {"default": 1}), "ends": ends, "prefix": ("STRING", {})}}

    def run(self, count, ends, prefix):
        graph = GraphBuilder()
        for number in range(count):
            picture = graph.node("EmptyImage", width=8, height=8, batch_size=1, color=number)
            graph.node("SaveImage", images=picture.out(0), filename_prefix=f"{prefix}{number}")
        if ends == "failing":
            graph.node("PreviewImage", images=graph.node("TestFails").out(0))
        if ends == "in a cycle":
            first, second = graph.node("ImageInvert"), graph.node("ImageInvert")
            first.set_input("image", second.out(0))
            second.set_input("image", first.out(0))
            graph.node("PreviewImage", images=first.out(0))
        return {"result": (), "expand": graph.finalize()}


class TestOdd:
    """Shows what JSON does not have, and what it cannot hold."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("FLOAT", {"default": 0.0, "min": -1e9, "max": 1e9})}}

    def run(self, value):
        tensor = torch.zeros(2)
        shown = {"values": [float("nan"), value], "odd": [tensor, tensor.mean()], "tags": ["one, two"], "text": ["x"]}
        return {"ui": shown}


class TestExits:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        sys.exit("this node leaves")


class TestHarm:
    """Tries what a hostile node would try, and reports what it got as text."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"what": ("STRING", {"default": ""}), "target": ("STRING", {"default": ""})}}

    def run(self, what, target):
        try:
            got = getattr(self, what)(target)
        except OSError as error:
            got = f"refused: {type(error).__name__}"
        return {"ui": {"text": [str(got)]}}

    def read(self, target):
        return f"read: {Path(target).read_bytes()[:200]!r}"

    def list(self, target):
        return f"listed: {sorted(os.listdir(target))}"

    def write(self, target):
        Path(target).write_text("harm")
        return "written"

    def overwrite_input(self, target):
        path = Path(folder_paths.get_input_directory()) / target
        path.write_text("harm")
        return "written"

    def connect(self, target):
        host, _, port = target.rpartition(":")
        socket.create_connection((host, int(port)), timeout=2).close()
        return "connected"

    def environment(self, target):
        return "environment: " + " ".join(f"{name}={value}" for name, value in os.environ.items())

    def processes(self, target):
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                found.append((path / "environ").read_bytes().decode(errors="replace"))
            except OSError:
                continue
        return "environments: " + " ".join(found)

    def link_out(self, target):
        os.symlink(target, Path(folder_paths.get_output_directory()) / "stolen.txt")
        return "linked"

    def patch(self, target):
        """Saves the prompts of all later runs beside their results, in ComfyUI's own code."""
        executor, seen = execution.PromptExecutor, []
        execute_async = executor.execute_async

        async def execute_and_tell(self, prompt, prompt_id, extra_data=None, execute_outputs=()):
            seen.append(prompt)
            folder = Path(folder_paths.get_output_directory())
            (folder / "seen.txt").write_text(json.dumps(seen))
            return await execute_async(self, prompt, prompt_id, extra_data or {}, execute_outputs)

        executor.execute_async = execute_and_tell
        return "patched"

    def daemon(self, target):
        """A process that outlives the run, in a session of its own."""
        command = [sys.executable, "-c", "import time; time.sleep(600)", target]
        return f"pid {subprocess.Popen(command, start_new_session=True).pid}"


NODE_CLASS_MAPPINGS = {
    "TestSteps": TestSteps,
    "TestFails": TestFails,
    "TestBytes": TestBytes,
    "TestSecret": TestSecret,
    "TestExpands": TestExpands,
    "TestOdd": TestOdd,
    "TestExits": TestExits,
    "TestHarm": TestHarm,
}

if hasattr(io, "NodeReplace"):  # 0.3.75 has none
    gone = io.NodeReplace("TestSteps", "TestCounts", ["count"], [{"new_id": "steps", "old_id": "count"}])
    PromptServer.instance.node_replace_manager.register(gone)
