"""Rules about packages that packs may not change."""

from __future__ import annotations

from dataclasses import dataclass

# ComfyUI's own choice: built for each other, for one Python and one driver.
TORCH = frozenset({"torch", "torchvision", "torchaudio", "torchsde", "triton", "xformers"})
# Not a pack's business: installers, the editor, and a package of another kind under ComfyUI's name.
NEVER = frozenset(
    {
        *("pip", "uv", "comfy", "comfyui", "comfyui-manager"),
        *("comfyui-frontend-package", "comfyui-workflow-templates", "comfyui-embedded-docs"),
    }
)
# Held whatever a pack asks for, unless an operator forces another version.
HELD = (
    "numpy>=2",  # wheels that are compiled for numpy 1 and 2 cannot be loaded together
    "transformers<5",
    "opencv-contrib-python-headless<5",
    "ultralytics!=8.3.41,!=8.3.42",  # poisoned releases
    "litellm!=1.82.7,!=1.82.8",
)


@dataclass(frozen=True)
class Family:
    """Packages that write the same folder: only one of them can be installed."""

    members: frozenset[str]
    kept: str
    is_kept_always: bool  # also if another member is the only one that is asked for

    def others_of(self, names: frozenset[str]) -> frozenset[str]:
        """The packages to exclude from a resolution that chose these, empty if it may stay."""
        found = self.members & names
        if found <= {self.kept} or (len(found) == 1 and not self.is_kept_always):
            return frozenset()
        return self.members - {self.kept}


FAMILIES = (
    Family(
        frozenset(
            {
                *("opencv-python", "opencv-python-headless"),
                *("opencv-contrib-python", "opencv-contrib-python-headless"),
            }
        ),
        kept="opencv-contrib-python-headless",
        is_kept_always=True,  # the others need a display's libraries
    ),
    Family(frozenset({"onnxruntime", "onnxruntime-gpu"}), kept="onnxruntime-gpu", is_kept_always=False),
)


def family_of(name: str) -> Family | None:
    return next((family for family in FAMILIES if name in family.members), None)
