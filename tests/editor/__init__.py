"""ComfyUI's editor as the judge of conversions: the workflows that it is asked about, and its answers."""
