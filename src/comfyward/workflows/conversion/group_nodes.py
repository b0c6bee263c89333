"""Group nodes, which the editor had before subgraphs: each becomes a box, and what it holds a definition."""

from __future__ import annotations

from comfyward.workflows.class_inputs import AllInputs
from comfyward.workflows.conversion.form import SavedFile


def with_definitions(file: SavedFile, classes: AllInputs) -> SavedFile:
    """The file with its group nodes as boxes."""
    return file
