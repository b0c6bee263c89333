"""The judge: ComfyUI itself, run on graphs made at random."""
