"""Node classes that only tests have, for the rules by which the editor lays out inputs and widgets."""

from __future__ import annotations

from typing import Any


def made(required: dict[str, Any], optional: dict[str, Any] | None = None, output: Any = (), **more: Any) -> Any:
    """An entry of /object_info."""
    outputs = list(output)
    return {
        "input": {"required": required, "optional": optional or {}},
        "output": outputs,
        "output_is_list": [False] * len(outputs),
        "output_name": [f"out{number}" for number in range(len(outputs))],
        "name": "",
        "display_name": "",
        "description": "",
        "category": "tests",
        "output_node": not outputs,
        "python_module": "nodes",
        **more,
    }


def growing(fields: dict[str, Any], **template: Any) -> Any:
    return ["COMFY_AUTOGROW_V3", {"template": {"input": {"required": fields}, **template}}]


def choosing(**options: dict[str, Any]) -> Any:
    listed = [{"key": key.replace("_", " "), "inputs": {"required": inputs}} for key, inputs in options.items()]
    return ["COMFY_DYNAMICCOMBO_V3", {"options": listed}]


SIZES = choosing(
    by_size={"width": ["INT", {"default": 512}], "height": ["INT", {"default": 256}]},
    by_picture={"picture": ["IMAGE", {}], "seed": ["INT", {"default": 3}]},
    nested={"inner": choosing(deep={"text": ["STRING", {}]}, flat={})},
    many={"images": growing({"image": ["IMAGE", {}]}, prefix="image", min=1, max=4)},
    nothing={},
)

CLASSES: dict[str, Any] = {
    "TSource": made({}, {}, ["IMAGE", "MASK", "INT", "FLOAT", "STRING", "BOOLEAN", "MODEL", ["x", "y"], "*"]),
    "TSave": made({"images": ["IMAGE"], "prefix": ["STRING", {"default": "out"}]}, {"mask": ["MASK"]}),
    "TSeed": made(
        {"seed": ["INT", {"default": 1}], "steps": ["INT", {"default": 20}], "mode": [["x", "y"]]}, {}, ["INT", "IMAGE"]
    ),
    "TNoSeed": made(
        {
            "seed": ["INT", {"control_after_generate": False}],
            "noise_seed": ["INT", {"control_after_generate": True, "default": 4}],
            "scale": ["FLOAT", {"control_after_generate": True, "default": 1.5}],
            "mode": ["COMBO", {"options": ["p", "q"], "control_after_generate": True}],
            "last": ["STRING", {"default": "end"}],
        },
        {},
        ["LATENT"],
    ),
    "TOrder": made(
        {"a": ["INT", {}], "pic": ["IMAGE"], "s": ["STRING", {}], "n": ["FLOAT", {"default": 0.5}]},
        {"m": ["MASK"], "z": ["BOOLEAN", {"default": True}], "extra": ["IMAGE"]},
        ["IMAGE", "MASK"],
        input_order={"required": ["n", "s", "pic", "a"], "optional": ["z", "extra", "m"]},
    ),
    "TForced": made(
        {
            "seed": ["INT", {"control_after_generate": True}],
            "text": ["STRING", {"forceInput": True}],
            "strength": ["FLOAT", {"default": 0.8}],
            "required_default": ["INT", {"defaultInput": True, "default": 2}],
        },
        {"optional_default": ["INT", {"defaultInput": True}], "tail": ["STRING", {"default": "t"}]},
        ["STRING"],
    ),
    "TKinds": made(
        {
            "color": ["COLOR", {}],
            "box": ["BOUNDING_BOX", {}],
            "after": ["INT", {"default": 7}],
            "boxes": ["BOUNDING_BOXES", {}],
            "colors": ["COLORS", {}],
            "area": ["TEXTAREA", {}],
            "marks": ["MARKDOWN", {}],
            "chart": ["CHART", {}],
            "range": ["RANGE", {}],
            "end": ["INT", {"default": 9}],
        }
    ),
    "TCurve": made({"curve": ["CURVE", {}], "compare": ["IMAGECOMPARE", {}], "end": ["INT", {"default": 9}]}),
    "TChoices": made(
        {
            "empty": [[]],
            "falsy": [["", "b"], {"default": ""}],
            "given": [["a", "b"], {"default": "b"}],
            "gone": [["a", "b"], {"default": "c"}],
            "numbers": [[1, 2, 3], {"default": 2}],
            "many": ["COMBO", {"options": ["a", "b", "c"], "multi_select": {"placeholder": "x"}}],
            "text": ["STRING", {"multiline": True}],
            "line": ["STRING", {}],
            "flag": ["BOOLEAN", {}],
        },
        {},
        [["a", "b"], "STRING"],
    ),
    "TTypes": made(
        {
            "either": ["FLOAT,INT", {}],
            "typed": ["FLOAT,INT", {"widgetType": "FLOAT", "default": 2.5}],
            "own": ["THING", {"default": 3}],
            "alone": ["INT", {"socketless": True, "default": 6}],
            "hidden": ["INT", {"hidden": True, "default": 8}],
            "lazy": ["IMAGE", {"lazy": True, "rawLink": True}],
        },
        {"maybe": ["INT", {"advanced": True, "default": 4}]},
        ["FLOAT,INT", "THING", "*"],
    ),
    "TUpload": made(
        {"image": [["a.png", "b.png"], {"image_upload": True}], "size": ["INT", {"default": 5}]}, {}, ["IMAGE"]
    ),
    "TUploadOptional": made({"size": ["INT", {"default": 5}]}, {"image": [["a.png"], {"image_upload": True}]}),
    "TGrow": made(
        {"images": growing({"image": ["IMAGE", {}]}, prefix="image", min=2, max=5), "end": ["INT", {"default": 1}]}
    ),
    "TGrowNames": made(
        {"first": ["IMAGE"], "vars": growing({"var": ["*", {}]}, names=["a", "b", "c"], min=1)}, {}, ["IMAGE"]
    ),
    "TGrowValues": made(
        {
            "head": ["INT", {"default": 1}],
            "values": growing({"value": ["FLOAT", {"default": 0.5}]}, prefix="value", min=1, max=4),
            "tail": ["STRING", {"default": "t"}],
        }
    ),
    "TGrowTwo": made({"pairs": growing({"image": ["IMAGE", {}], "mask": ["MASK", {}]}, prefix="p", min=1, max=3)}),
    "TGrowNone": made({"images": growing({"image": ["IMAGE", {}]}, prefix="image", min=0, max=3)}),
    "TChoosing": made({"head": ["STRING", {"default": "h"}], "mode": SIZES, "tail": ["INT", {"default": 8}]}),
    "TRows": made(
        {
            "head": ["STRING", {"default": "h"}],
            "rows": [
                "COMFY_DYNAMICGROUP_V3",
                {
                    "template": {"required": {"name": ["STRING", {}], "strength": ["FLOAT", {"default": 1}]}},
                    "min": 1,
                    "max": 3,
                },
            ],
            "tail": ["INT", {"default": 8}],
        }
    ),
    "TMatch": made(
        {
            "one": ["COMFY_MATCHTYPE_V3", {"template": {"allowed_types": "IMAGE,MASK", "template_id": "t"}}],
            "two": ["COMFY_MATCHTYPE_V3", {"template": {"allowed_types": "IMAGE,MASK", "template_id": "t"}}],
        },
        {},
        ["COMFY_MATCHTYPE_V3"],
        output_matchtypes=["t"],
    ),
    "TText": made(
        {"text": ["STRING", {"multiline": True, "dynamicPrompts": True}], "plain": ["STRING", {}]}, {}, ["STRING"]
    ),
    "TNumbers": made(
        {
            "whole": ["INT", {"default": 1, "min": 2, "max": 50, "step": 8}],
            "plain": ["INT", {}],
            "tenths": ["FLOAT", {}],
            "fine": ["FLOAT", {"step": 0.001, "min": -5, "max": 5}],
            "rounded": ["FLOAT", {"step": 0.01, "round": 0.05, "max": 10}],
            "odd": ["INT", {"default": 1, "min": 3, "max": 47, "step": 8}],
            "loose": ["FLOAT", {"step": 0.01, "round": False, "max": 10}],
        },
        {},
        ["INT", "FLOAT"],
    ),
    "TPass": made(
        {"image": ["IMAGE"], "mask": ["MASK"], "amount": ["FLOAT", {"default": 0.3}]},
        {"other": ["IMAGE"]},
        ["MASK", "IMAGE", "FLOAT", "LATENT"],
    ),
    "TAny": made({"any": ["*", {}]}, {"more": ["*", {}]}, ["*"]),
    "TNoControl": made({}, {}, []),
}
for _name, _entry in CLASSES.items():
    _entry["name"] = _name
    _entry["display_name"] = f"Test {_name}"
