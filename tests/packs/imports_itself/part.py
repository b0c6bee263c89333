class ImportsItself:
    CATEGORY = "test"
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        return {"ui": {"text": ["imported"]}}


NODE_CLASS_MAPPINGS = {"ImportsItself": ImportsItself}
