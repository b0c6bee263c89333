"""The sockets and widgets that the editor gives a node of a class, read from the class's entry in /object_info.

(Source: ComfyUI's editor, which is the only place where they are defined. A saved node has the values of its widgets by
their position alone, so what takes a place there must be known.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

GROWING, CHOOSING, ROWS, MATCHING = (
    "COMFY_AUTOGROW_V3",
    "COMFY_DYNAMICCOMBO_V3",
    "COMFY_DYNAMICGROUP_V3",
    "COMFY_MATCHTYPE_V3",
)
SEEDS = ("seed", "noise_seed")
ANY = "*"
CHOICE = "COMBO"
MOST_OF_A_GROUP = 100

# What a widget of a type holds when nothing else is said.
DEFAULTS: dict[str, Any] = {
    "INT": 0,
    "FLOAT": 0,
    "BOOLEAN": False,
    "STRING": "",
    CHOICE: None,
    "COLOR": "#000000",
    "BOUNDING_BOX": {"x": 0, "y": 0, "width": 512, "height": 512},
    "BOUNDING_BOXES": [],
    "COLORS": [],
    "GALLERIA": [],
    "TEXTAREA": "",
    "MARKDOWN": "",
    "CHART": {},
    "RANGE": {"min": 0, "max": 1},
    "CURVE": None,
    "IMAGECOMPARE": ["", ""],
    "RESOLUTION_PREVIEW": None,
    "AUDIO_UI": None,
    "LOAD_3D": None,
    "WEBCAM": None,
    "AUDIO_RECORD": None,
    "PAINTER": None,
    CHOOSING: None,
    ROWS: 0,
}
PLACES = {"BOUNDING_BOX": 5, "IMAGECOMPARE": 0, "RESOLUTION_PREVIEW": 0, "AUDIO_UI": 0}  # one, for the others
NOT_SENT = ("RESOLUTION_PREVIEW", "AUDIO_UI", ROWS)
MADE_IN_BROWSERS = {
    "LOAD_3D": "a view of a 3D scene",
    "WEBCAM": "a picture of a webcam",
    "AUDIO_RECORD": "a recording of a microphone",
    "PAINTER": "a painted picture",
}


class Widget(msgspec.Struct, frozen=True):
    """A value of a node. `places` is how many of the saved values are its own: the first, and those of its controls."""

    name: str
    kind: str  # a type, of DEFAULTS
    default: Any
    options: Mapping[str, Any]
    places: int
    is_sent: bool
    has_default: bool = True  # False for a choice of nothing

    @property
    def is_text(self) -> bool:
        """True for a field of several lines, which holds nothing but texts."""
        return self.kind == "MARKDOWN" or (self.kind == "STRING" and bool(self.options.get("multiline")))

    @property
    def has_choices(self) -> bool:
        """True for a text in which `{a|b}` stands for one of several."""
        return self.kind == "STRING" and bool(self.options.get("dynamicPrompts"))

    @property
    def choices(self) -> list[Any]:
        found = self.options.get("options")
        return found if isinstance(found, list) else []


class Input(msgspec.Struct, frozen=True):
    """An input of a class: a socket, a widget with a socket of its own, or a widget alone (`socketless`)."""

    name: str
    type: str
    widget: Widget | None = None
    is_forced: bool = False  # it would have a widget, were it not marked as a socket
    is_socketless: bool = False
    has_control: bool = False  # by its own option
    group: Group | None = None


class Group(msgspec.Struct, frozen=True):
    """An input that grows: as many of its fields as are linked."""

    fields: tuple[Input, ...]
    names: tuple[str, ...]  # of its members, in order; without the group's own
    first: int  # how many of them a new node has

    def inputs(self, name: str, member: str) -> Iterator[Input]:
        """The inputs of one member."""
        for field in self.fields:
            inner = member if len(self.fields) == 1 else f"{field.name}{member}"
            yield renamed(field, f"{name}.{inner}")


class ClassInputs(msgspec.Struct, frozen=True):
    """The inputs of a class in their declared order, and as the editor lays them out: sockets, then widgets."""

    declared: tuple[Input, ...]
    laid_out: tuple[Input, ...]
    outputs: tuple[str, ...]
    title: str
    is_fixed: bool  # False if the inputs depend on what a node holds
    has_forced: bool = False
    names: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    numbers: Mapping[str, int] = {}
    widgets: tuple[Widget, ...] = ()


class AllInputs:
    """The inputs of the classes of a catalog, each read when it is first asked for."""

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self._nodes = nodes
        self._read: dict[str, ClassInputs] = {}

    def of(self, class_type: str) -> ClassInputs | None:
        """None for a class that the catalog lacks."""
        found = self._read.get(class_type)
        if found is None and class_type in self._nodes:
            found = self._read[class_type] = read_class(class_type, self._nodes[class_type])
        return found


def read_class(class_type: str, entry: Mapping[str, Any]) -> ClassInputs:
    """The inputs of a class from its entry in /object_info."""
    declared = (*inputs_of(entry.get("input"), entry.get("input_order")), *OF_THE_EDITOR.get(class_type, ()))
    sockets = [each for each in declared if each.widget is None]
    laid_out = (*sockets, *(each for each in declared if each.widget is not None))
    with_socket = [each for each in laid_out if not each.is_socketless]
    return ClassInputs(
        declared,
        laid_out,
        tuple(map(_output_type, _listed(entry.get("output")))),
        str(entry.get("display_name") or class_type),
        is_fixed=class_type != "CustomCombo" and not any(map(_is_growing, declared)),
        has_forced=any(each.is_forced for each in declared),
        names=tuple(each.name for each in with_socket),
        types=tuple(each.type for each in with_socket),
        numbers={each.name: number for number, each in enumerate(with_socket)},
        widgets=tuple(each.widget for each in laid_out if each.widget is not None),
    )


def _is_growing(each: Input) -> bool:
    """True if the number of a node's inputs depends on its values or links."""
    return each.group is not None or (each.widget is not None and each.widget.kind in (CHOOSING, ROWS))


def inputs_of(sections: Any, order: Any = None, prefix: str = "", *, with_control: bool = True) -> Iterator[Input]:
    """The inputs in the sections `required` and `optional` of a description, in the editor's order."""
    sections = sections if isinstance(sections, dict) else {}
    order = order if isinstance(order, dict) else {}
    required, optional = (_section(sections.get(name)) for name in ("required", "optional"))
    known = {**optional, **required}
    names = dict.fromkeys(
        name
        for section in ("required", "optional")
        for name in _listed(order.get(section))
        if isinstance(name, str) and name in known
    )
    for name in (*names, *(name for name in (*required, *optional) if name not in names)):
        found = _input(f"{prefix}{name}", known[name], is_optional=name not in required, with_control=with_control)
        if found is not None:
            yield found


def renamed(each: Input, name: str) -> Input:
    """The input of another name, as a member of a group or row."""
    widget = each.widget and msgspec.structs.replace(each.widget, name=name)
    return msgspec.structs.replace(each, name=name, widget=widget)


def type_name(value: Any) -> str:
    """The type of a socket: a list of options is a choice."""
    if isinstance(value, str):
        return value
    return CHOICE if isinstance(value, list) else ANY


def _input(name: str, spec: Any, *, is_optional: bool, with_control: bool) -> Input | None:
    if not isinstance(spec, list) or not spec:
        return None
    type_, options = spec[0], spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    shown = type_name(type_)
    if shown == GROWING:
        return _growing(name, options)
    if shown == MATCHING:
        template = options.get("template")
        allowed = template.get("allowed_types") if isinstance(template, dict) else ANY
        return Input(name, str(allowed or ANY))
    kind = options.get("widgetType") if isinstance(options.get("widgetType"), str) else shown
    if kind not in DEFAULTS:
        return Input(name, shown)
    if options.get("forceInput") or (options.get("defaultInput") and is_optional):
        return Input(name, shown, is_forced=True, has_control=bool(options.get("control_after_generate")))
    if isinstance(type_, list):
        options = {**options, "options": type_}
    return Input(
        name,
        shown,
        _widget(name, kind, options, with_control=with_control),
        is_socketless=bool(options.get("socketless")),
        has_control=bool(options.get("control_after_generate")),
    )


def _widget(name: str, kind: str, options: Mapping[str, Any], *, with_control: bool) -> Widget:
    choices = options.get("options")
    has_default, default = True, options.get("default")
    if kind == CHOOSING:
        keys = [each.get("key") for each in _listed(choices) if isinstance(each, dict)]
        default = default or next(iter(keys), None)
    elif kind == CHOICE and options.get("multi_select"):
        default = default or []
    elif kind == CHOICE:
        default = default or next(iter(_listed(choices)), None)
        has_default = bool(default) or bool(_listed(choices))
    elif kind == ROWS:
        default = options.get("min") if isinstance(options.get("min"), int) else 0
    elif default is None:
        default = DEFAULTS[kind]
    places = PLACES.get(kind, 1) + _controls(name, kind, options, with_control=with_control)
    return Widget(name, kind, default, options, places, kind not in NOT_SENT, has_default)


def _controls(name: str, kind: str, options: Mapping[str, Any], *, with_control: bool) -> int:
    """The number of widgets behind one that only the editor reads: what to do after a run, and a choice's filter."""
    option = options.get("control_after_generate")
    if kind in ("INT", "FLOAT"):
        is_seed = option is None and kind == "INT" and name in SEEDS and with_control
        return 1 if option or is_seed else 0
    return 2 if kind == CHOICE and option else 0


def _growing(name: str, options: Mapping[str, Any]) -> Input:
    template = options.get("template")
    template = template if isinstance(template, dict) else {}
    fields = tuple(inputs_of(template.get("input"), with_control=False))
    low, high = (_count(template.get(bound), other) for bound, other in (("min", 1), ("max", MOST_OF_A_GROUP)))
    names = template.get("names")
    if isinstance(names, list):
        members = tuple(map(str, names[:MOST_OF_A_GROUP]))
    else:
        prefix = str(template.get("prefix") or "") if len(fields) == 1 else ""
        members = tuple(f"{prefix}{number}" for number in range(min(high, MOST_OF_A_GROUP)))
    return Input(name, ANY, group=Group(fields, members, max(1, min(low + 1, len(members)))))


def _count(value: Any, other: int) -> int:
    return value if isinstance(value, int) and value >= 0 else other


def _output_type(value: Any) -> str:
    name = type_name(value)
    return ANY if name == MATCHING else name


def _section(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_PICTURE_OF_A_MODEL = Input(
    "image", "PREVIEW_3D", Widget("image", "STRING", "", {}, 1, is_sent=True), is_socketless=True
)
OF_THE_EDITOR = {"Preview3D": (_PICTURE_OF_A_MODEL,), "SaveGLB": (_PICTURE_OF_A_MODEL,)}
"""Inputs that the editor adds to classes of ComfyUI's own."""
