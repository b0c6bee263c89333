"""The help page of a node in the editor, made from the catalog."""

from comfyward.api.native.help import help_page


def test_a_node_with_everything() -> None:
    info = {
        "display_name": "Blur",
        "description": "Makes it soft.",
        "input": {
            "required": {"image": ["IMAGE"], "kind": [["box", "gauss"], {"tooltip": "How | so"}]},
            "optional": {"size": ["INT", {"default": 3}], "mode": ["COMBO", {"options": [str(n) for n in range(20)]}]},
            "hidden": {"prompt": "PROMPT"},
        },
        "output": ["IMAGE"],
        "output_name": ["soft"],
        "output_tooltips": [None],
    }

    assert help_page("Blur", info).splitlines() == [
        "# Blur",
        "",
        "Makes it soft.",
        "",
        "## Inputs",
        "",
        "| name | type |  |",
        "| --- | --- | --- |",
        "| image | IMAGE |  |",
        "| kind | one of box, gauss | How \\| so |",
        "| size (optional) | INT |  |",
        "| mode (optional) | one of 0, 1, 2, 3, 4, 5, 6, 7, … |  |",
        "",
        "## Outputs",
        "",
        "| name | type |  |",
        "| --- | --- | --- |",
        "| soft | IMAGE |  |",
    ]


def test_a_node_with_nothing() -> None:
    assert help_page("Bare", {"input": {}, "output": []}) == "# Bare\n"
