"""The trial of an environment: ComfyUI is started as for a run, its packs are looked at, and it makes a picture.

What ComfyUI says of its packs is hostile text, but from the environment that it speaks of: it can only praise itself.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from comfyward.comfy.catalog import read_catalog
from comfyward.comfy.client import ComfyClient, History
from comfyward.environments.web_files import packed
from comfyward.errors import ComfyUIError, SetupFailed
from comfyward.ids import new_uuid
from comfyward.sandbox import beneath
from comfyward.worker.environment_reports import MAX_CLASSES, MAX_PICTURE_BYTES, PackTrial, Trial
from comfyward.worker.generation import Generation
from comfyward.worker.tried import Kept
from comfyward.worker.web_files import read_web_files
from comfyward.worker.written_files import Written, written_in

GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0x3366CC}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "trial"}},
}
PICTURE_TIMEOUT_S = 120.0
LOOK_AGAIN_S = 0.05
PNG = b"\x89PNG\r\n\x1a\n"
LAST_LINES = 40
MAX_TEXT, MAX_NAME = 3500, 200

# ComfyUI's own list, after all packs: "   0.1 seconds (IMPORT FAILED): /…/custom_nodes/NAME"
# Both are bounded: a pack chooses what they read.
_IMPORTED = re.compile(
    r"^(?:\[[A-Z]{1,20}\] )?"  # the level, since 0.30.0
    r"[ \t]{0,20}(\d{1,9}(?:\.\d{1,9})?) seconds( \(IMPORT FAILED\))?: (\S.{0,4000})$",
    re.MULTILINE,
)
_FRAME = re.compile(r'File "(?:[^"\n]{0,1000}/)?custom_nodes(?:_\d{1,9})?/([^"\n]{1,500})", line (\d{1,9})')
MAX_TRACEBACK = 20_000


async def tried(comfyui: Generation, folders: Collection[str]) -> Kept:
    """The trial of a ComfyUI, which this starts, with the packs in these folders. Raises SetupFailed, ComfyUIError."""
    began = time.monotonic()
    await comfyui.ensure()
    start_s = time.monotonic() - began
    digest, body = await read_catalog(comfyui.client)
    catalog = await asyncio.to_thread(msgspec.json.decode, body)
    try:
        packs = packs_in(folders, catalog, comfyui.log_tail())
    except (KeyError, TypeError, AttributeError) as error:
        raise SetupFailed(f"What ComfyUI says of its packs cannot be read: {error!r}.") from error
    failed = [pack for pack in packs if not pack.imported]
    trial = Trial(
        ready=not failed,
        packs=packs,
        classes=len(catalog["nodes"]),
        start_s=round(start_s, 2),
        picture=None if failed else await _picture(comfyui),
        message=" ".join(f"{pack.folder} did not import: {_first_line(pack.error)}" for pack in failed)[:MAX_TEXT],
        hint=failed[0].error[-MAX_TEXT:] if failed else "",
    )
    web_files = [] if failed else await read_web_files(comfyui, folders)  # last: routes may do anything
    trial = await asyncio.to_thread(_with_writes, trial, comfyui)
    return Kept(trial, digest, body, packed(web_files))


def _with_writes(trial: Trial, comfyui: Generation) -> Trial:
    """The trial with the files that packs have written, as far as they can be read."""
    try:
        found = written_in(comfyui.copy, comfyui.recipe)
    except OSError:
        return trial
    own = found.get("", Written())
    packs = [
        msgspec.structs.replace(pack, written=each.count, writes=each.paths)
        for pack in trial.packs
        for each in [found.get(pack.folder, Written())]
    ]
    return msgspec.structs.replace(trial, packs=packs, written=own.count, writes=own.paths)


def failed(error: SetupFailed | ComfyUIError, log: str) -> Trial:
    """The trial of a ComfyUI that did not come so far."""
    hint = error.hint or "\n".join(log.strip().splitlines()[-LAST_LINES:])
    return Trial(ready=False, message=error.message[:MAX_TEXT], hint=hint[-MAX_TEXT:])


def packs_in(folders: Iterable[str], catalog: Mapping[str, Any], log: str) -> list[PackTrial]:
    """The results of the packs, from the catalog, which has the errors, and ComfyUI's list of times in its log."""
    told = {path.rstrip("/").rpartition("/")[2]: (float(seconds), word) for seconds, word, path in _imports(log)}
    errors = {each["name"]: each for each in catalog["failures"] if each["kind"] == "pack"}
    return [_pack(folder, catalog["nodes"], errors.get(folder), told.get(folder)) for folder in sorted(folders)]


def _imports(log: str) -> list[tuple[str, str, str]]:
    return [(match[1], match[2], match[3]) for match in _IMPORTED.finditer(log)]


def _pack(
    folder: str, nodes: Mapping[str, Any], failure: Mapping[str, str] | None, told: tuple[float, str] | None
) -> PackTrial:
    classes = sorted(name for name, node in nodes.items() if _is_of(folder, node))
    is_refused = told is not None and bool(told[1])  # by ComfyUI's own list
    if failure is not None:
        # ComfyUI goes on without a startup script that fails.
        imported = bool(classes) and "prestartup_script.py" in failure["traceback"] and not is_refused
        error = _error(failure)
    elif is_refused:
        imported, error = False, "ComfyUI says that it could not be imported, and gives no reason."
    elif told is None and not classes:
        imported, error = False, "ComfyUI did not try to load it."
    else:
        imported, error = True, ""
    return PackTrial(
        folder=folder[:MAX_NAME],
        imported=imported,
        error=error,
        classes=[name[:MAX_NAME] for name in classes[:MAX_CLASSES]],
        seconds=min(told[0], 3600.0) if told else 0.0,
    )


def _is_of(folder: str, node: Any) -> bool:
    return isinstance(node, dict) and node.get("python_module") == f"custom_nodes.{folder}"


def _error(failure: Mapping[str, str]) -> str:
    """The error with the place in the pack where it happened, and the last lines of its traceback."""
    frames = _FRAME.findall(failure["traceback"][-MAX_TRACEBACK:])
    place = f" ({frames[-1][0]}, line {frames[-1][1]})" if frames else ""
    lines = failure["traceback"].strip().splitlines()[-LAST_LINES:]
    return f"{failure['error'][: MAX_TEXT // 4]}{place}\n" + "\n".join(lines)[-MAX_TEXT // 2 :]


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


async def _picture(comfyui: Generation) -> bytes:
    """The picture that it makes. Raises SetupFailed, ComfyUIError."""
    prompt_id = new_uuid()
    graph = msgspec.Raw(msgspec.json.encode(GRAPH))
    await comfyui.client.submit(prompt_id, graph, msgspec.Raw(b"null"), {})
    try:
        async with asyncio.timeout(PICTURE_TIMEOUT_S):
            history = await finished(comfyui.client, prompt_id)
    except TimeoutError as error:
        raise SetupFailed(f"It made no picture in {PICTURE_TIMEOUT_S:.0f} s.") from error
    if not history.succeeded:
        said = history.message("execution_error") or {}
        raise SetupFailed(f"It made no picture: {str(said.get('exception_message', history.status))[:MAX_NAME]}")
    try:
        shown = history.outputs["2"]["images"][0]
        data = await asyncio.to_thread(_read, comfyui, str(shown["subfolder"]), str(shown["filename"]))
    except (KeyError, IndexError, TypeError, OSError) as error:
        raise SetupFailed("It made no picture that can be read.") from error
    if not data.startswith(PNG) or len(data) > MAX_PICTURE_BYTES:
        raise SetupFailed("It made a picture that is none.")
    return data


async def finished(client: ComfyClient, prompt_id: str) -> History:
    """The history of a prompt once it has ended."""
    while (history := await client.history(prompt_id)) is None:  # noqa: ASYNC110  ComfyUI tells nobody else
        await asyncio.sleep(LOOK_AGAIN_S)
    return history


def _read(comfyui: Generation, subfolder: str, name: str) -> bytes:
    with beneath.opened(comfyui.base, ("output",)) as output:
        parts = [*filter(None, subfolder.split("/")), name]
        with os.fdopen(beneath.open_file(output, parts), "rb") as file:
            return file.read(MAX_PICTURE_BYTES + 1)
