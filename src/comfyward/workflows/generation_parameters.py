"""Parameters that Stable Diffusion WebUI (A1111) writes into pictures, as a plain text-to-image graph. Pure.

    a prompt, <lora:style:0.8>
    Negative prompt: blurry
    Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, Model: sd15

(Source of the form: AUTOMATIC1111/stable-diffusion-webui, modules/infotext_utils.py and processing.py.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfyward.workflows.sampler_names import sampler_of, scheduler_of

MOST_CHARACTERS = 200_000
LEAST_SETTINGS = 3  # WebUI itself takes a last line with fewer for a part of the prompt
NEGATIVE = "Negative prompt:"
MOST_LISTED, MOST_SHOWN = 12, 60
SIZE_STEP, LEAST_SIDE, LARGEST_SIDE = 8, 16, 16384
LARGEST_SEED, MOST_STEPS, MOST_CFG = (1 << 64) - 1, 10_000, 100.0
_SETTING = re.compile(r'(\w[\w \-/]{0,60}+):\s*+("(?:[^"\\]++|\\.)*+"|[^,]*+)(?:,|$)')
_TAG = re.compile(r"<(lora|lyco|hypernet):([^:<>]++)((?::[^:<>]*+)*+)>")
_EDITED = re.compile(r"\bBREAK\b|\bAND\b|(?<!\\)\[[^\[\]]*+\]")
# What the graph has, and what names the same things once more, or the program itself.
TAKEN = (
    *("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Clip skip", "VAE", "TI hashes"),
    *("Model hash", "VAE hash", "Lora hashes", "Hashes", "Version", "Batch size", "Batch pos", "User", "RNG"),
)
NO_VAE = ("", "automatic", "none", "baked in", "built-in")
OTHER_NOISE = "WebUI makes noise and weighs words in ways of its own: the picture will be a similar one."


@dataclass(frozen=True)
class Made:
    """A graph in the API's form, and what could not be carried over, in sentences."""

    graph: dict[str, Any]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Parameters:
    positive: str
    negative: str
    settings: Mapping[str, str]


@dataclass(frozen=True)
class _Lora:
    name: str
    model: float
    clip: float


def graph_of_parameters(text: str) -> Made | None:
    """The graph of parameters; None if the text has not the form of them."""
    parsed = _parsed(text) if len(text) <= MOST_CHARACTERS else None
    return None if parsed is None else _Making(parsed).made()


def _parsed(text: str) -> _Parameters | None:
    lines = text.strip().splitlines() or [""]
    settings = {name.strip(): _unquoted(value.strip()) for name, value in _SETTING.findall(lines[-1])}
    if len(settings) < LEAST_SETTINGS or "Steps" not in settings:
        return None
    split = next(
        (number for number, line in enumerate(lines[:-1]) if line.strip().startswith(NEGATIVE)), len(lines) - 1
    )
    negative = "\n".join(lines[split:-1]).strip().removeprefix(NEGATIVE)
    return _Parameters("\n".join(lines[:split]).strip(), negative.strip(), settings)


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] == '"'
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if is_quoted else value


class _Making:
    """Makes one graph, and remembers what it has to leave out."""

    def __init__(self, parameters: _Parameters) -> None:
        self._parameters, self._settings = parameters, parameters.settings
        self._graph: dict[str, Any] = {}
        self._remarks: list[str] = []

    def made(self) -> Made:
        model, clip, vae = self._models()
        positive = self._encoded(clip, self._parameters.positive, "Positive prompt")
        negative = self._encoded(clip, self._parameters.negative, "Negative prompt")
        width, height = self._size()
        latent = self._add("EmptyLatentImage", width=width, height=height, batch_size=1)
        sampled = self._sampled(model, positive, negative, latent)
        picture = self._add("VAEDecode", samples=[sampled, 0], vae=vae)
        self._add("SaveImage", images=[picture, 0], filename_prefix="ComfyUI")
        self._remark_on_the_rest()
        return Made(self._graph, tuple(self._remarks))

    def _add(self, class_type: str, title: str | None = None, **inputs: Any) -> str:
        node_id = str(len(self._graph) + 1)
        node: dict[str, Any] = {"class_type": class_type, "inputs": inputs}
        self._graph[node_id] = node if title is None else {**node, "_meta": {"title": title}}
        return node_id

    def _models(self) -> tuple[list[Any], list[Any], list[Any]]:
        """The links of model, CLIP and VAE, behind the LoRAs that both prompts name."""
        loader = self._add("CheckpointLoaderSimple", ckpt_name=self._file("Model", "checkpoint"))
        model, clip, vae = [loader, 0], [loader, 1], [loader, 2]
        skipped = _whole(self._settings.get("Clip skip"), 1)
        if skipped > 1:
            clip = [self._add("CLIPSetLastLayer", clip=clip, stop_at_clip_layer=-min(skipped, 24)), 0]
        if self._settings.get("VAE", "").lower() not in NO_VAE:
            vae = [self._add("VAELoader", vae_name=self._settings["VAE"]), 0]
        for lora in self._loras():
            node_id = self._add(
                "LoraLoader",
                model=model,
                clip=clip,
                lora_name=_with_ending(lora.name),
                strength_model=lora.model,
                strength_clip=lora.clip,
            )
            model, clip = [node_id, 0], [node_id, 1]
        return model, clip, vae

    def _file(self, setting: str, what: str) -> str:
        name = self._settings.get(setting, "")
        if not name:
            self._remarks.append(f"The {what} is not named: choose one.")
            return ""
        file = _with_ending(name)
        if file != name:
            self._remarks.append(f"The {what} '{_shown(name)}' is taken to be the file '{_shown(file)}'.")
        return file

    def _loras(self) -> Iterable[_Lora]:
        found: dict[str, _Lora] = {}
        for kind, name, weights in _TAG.findall(f"{self._parameters.positive}\n{self._parameters.negative}"):
            if kind == "hypernet":
                self._remarks.append(f"The hypernetwork '{_shown(name)}' is left out: ComfyUI loads it otherwise.")
            else:
                found.setdefault(name, _lora(name.strip(), weights.split(":")[1:]))
        return found.values()

    def _encoded(self, clip: list[Any], text: str, title: str) -> list[Any]:
        plain = re.sub(r"[ \t]{2,}", " ", _TAG.sub("", text)).strip(" ,\n")
        if _EDITED.search(plain):
            self._remarks.append(f"{title}: BREAK, AND and [brackets] are plain words to ComfyUI.")
        for name in self._embeddings():
            plain = re.sub(rf"(?<![\w:])(?={re.escape(name)}(?!\w))", "embedding:", plain)
        return [self._add("CLIPTextEncode", title, clip=clip, text=plain), 0]

    def _embeddings(self) -> Iterator[str]:
        for each in self._settings.get("TI hashes", "").split(",")[:100]:
            if name := each.partition(":")[0].strip():
                yield name

    def _size(self) -> tuple[int, int]:
        sides = [_whole(side, 512) for side in self._settings.get("Size", "").lower().split("x")]
        width, height = (_side(side) for side in (sides if len(sides) == 2 else (512, 512)))
        if [width, height] != sides:
            self._remarks.append(f"The size '{_shown(self._settings.get('Size', ''))}' became {width} x {height}.")
        return width, height

    def _sampled(self, model: list[Any], positive: list[Any], negative: list[Any], latent: str) -> str:
        name, schedule = self._settings.get("Sampler", ""), self._settings.get("Schedule type", "")
        sampler, scheduler = sampler_of(name), scheduler_of(name, schedule)
        if sampler is None:
            self._remarks.append(f"The sampler '{_shown(name)}' is unknown to ComfyUI: it became euler.")
        if scheduler is None:
            self._remarks.append(f"The schedule '{_shown(schedule)}' is unknown to ComfyUI: it became normal.")
        return self._add(
            "KSampler",
            model=model,
            positive=positive,
            negative=negative,
            latent_image=[latent, 0],
            seed=min(LARGEST_SEED, max(0, _whole(self._settings.get("Seed"), 0))),
            steps=min(MOST_STEPS, max(1, _whole(self._settings["Steps"], 20))),
            cfg=min(MOST_CFG, max(0.0, _number(self._settings.get("CFG scale"), 7.0))),
            sampler_name=sampler or "euler",
            scheduler=scheduler or "normal",
            denoise=1.0,
        )

    def _remark_on_the_rest(self) -> None:
        rest = [f"{_shown(name)} ({_shown(value)})" for name, value in self._settings.items() if name not in TAKEN]
        if rest:
            more = f" and {len(rest) - MOST_LISTED} more" if len(rest) > MOST_LISTED else ""
            self._remarks.append(f"Not carried over: {', '.join(rest[:MOST_LISTED])}{more}.")
        self._remarks.append(OTHER_NOISE)


def _lora(name: str, weights: list[str]) -> _Lora:
    """Weights are the text encoder's and then the model's; `te=` and `unet=` name them. One alone is for both."""
    named = {key.strip(): value for key, is_named, value in (each.partition("=") for each in weights) if is_named}
    plain = [each for each in weights if "=" not in each]
    clip = _number(named.get("te", plain[0] if plain else None), 1.0)
    model = _number(named.get("unet", plain[1] if len(plain) > 1 else None), clip)
    return _Lora(name, _weight(model), _weight(clip))


def _weight(value: float) -> float:
    return min(100.0, max(-100.0, value))


def _with_ending(name: str) -> str:
    has_ending = name.lower().endswith((".safetensors", ".ckpt", ".pt", ".pth", ".sft"))
    return name if has_ending else f"{name}.safetensors"


def _side(pixels: int) -> int:
    return min(LARGEST_SIDE, max(LEAST_SIDE, round(pixels / SIZE_STEP) * SIZE_STEP))


def _whole(text: str | None, default: int) -> int:
    return int(text) if text is not None and re.fullmatch(r"\s*-?\d{1,30}\s*", text, re.ASCII) else default


def _number(text: str | None, default: float) -> float:
    is_number = text is not None and re.fullmatch(r"\s*-?\d{0,10}(\.\d{0,20})?\s*", text, re.ASCII)
    return float(text) if text is not None and is_number and any(map(str.isdigit, text)) else default


def _shown(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
