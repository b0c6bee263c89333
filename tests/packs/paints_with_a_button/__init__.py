"""Paints one colour. Its script gives the node a button that chooses red."""

import torch

WEB_DIRECTORY = "./web"


class Paint:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "paint", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"colour": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF})}}

    def paint(self, colour):
        channels = [(colour >> shift & 255) / 255 for shift in (16, 8, 0)]
        return (torch.tensor(channels).expand(1, 32, 32, 3).clone(),)


NODE_CLASS_MAPPINGS = {"TestPaint": Paint}
