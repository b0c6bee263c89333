"""comfyward: run ComfyUI workflows for many clients on many GPUs."""

__version__ = "0.1.0"
