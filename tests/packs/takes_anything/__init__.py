"""Types, lists and checks that only ComfyUI understands, as many packs have them."""


class AnyType(str):
    def __ne__(self, other):
        return False


class Slots(tuple):
    """Outputs without end."""

    def __getitem__(self, index):
        return super().__getitem__(min(index, len(self) - 1))


class Listed(list):
    """A list that holds everything."""

    def __contains__(self, value):
        return True


class Source:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", Slots((AnyType("*"),))

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": {"limit": ("FLOAT", {"default": 1.0, "max": float("inf")})}}

    def run(self, limit=1.0):
        return tuple(str(number) for number in range(5))


class Sink:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "any": (AnyType("IMAGE"),),
                "listed": (Listed(["a"]),),
                "fixed": (("a", "b"),),
                "checked": (["a"],),
            },
            "optional": {"number": ("INT", {"min": 0})},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, checked):
        return True if checked.startswith("a") else "it must begin with a"

    def run(self, **values):
        return {"ui": {"text": [",".join(str(values[name]) for name in ("any", "listed", "fixed", "checked"))]}}


class Undescribed:
    """Cannot say what it takes while there is no file."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        raise IndexError("there is no preset yet")

    def run(self):
        return {"ui": {"text": ["described"]}}


NODE_CLASS_MAPPINGS = {"TestAnySource": Source, "TestAnySink": Sink, "TestUndescribed": Undescribed}
