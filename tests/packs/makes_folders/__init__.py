"""Makes folders below models/ and input/ at import, as ReActor and ComfyUI's own Load3D do."""

import os

import folder_paths

os.makedirs(os.path.join(folder_paths.models_dir, "faces", "restore"), exist_ok=True)
os.makedirs(os.path.join(folder_paths.get_input_directory(), "made", "at", "import"), exist_ok=True)
FOLDERS = [os.path.join(folder_paths.get_input_directory(), "made"), os.path.join(folder_paths.models_dir, "faces")]


class Harm:
    """Does to the files of a run as a hostile node would, and beside them as any node may."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING",), "kind": ("STRING",)}}

    def run(self, name, kind):
        root = folder_paths.get_input_directory() if kind == "input" else os.path.join(folder_paths.models_dir, kind)
        path = os.path.join(root, name)
        return {
            "ui": {"text": [f"{self.tried(what, path)}" for what in ("write", "truncate", "mode", "link", "beside")]}
        }

    def tried(self, what, path):
        try:
            getattr(self, what)(path)
        except OSError:
            return f"{what}: refused"
        return f"{what}: done"

    def write(self, path):
        with open(path, "r+b") as file:
            file.write(b"harm")

    def truncate(self, path):
        os.truncate(path, 0)

    def mode(self, path):
        os.chmod(path, 0)

    def link(self, path):
        stolen = os.path.join(folder_paths.get_output_directory(), "same-bytes")
        os.link(os.path.realpath(path), stolen)

    def beside(self, path):
        os.makedirs(os.path.dirname(path) + "/left-by-a-node/deep", exist_ok=True)
        with open(os.path.dirname(path) + "/left-by-a-node.txt", "w") as file:
            file.write("left")


class Folders:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        return {"ui": {"text": [",".join(sorted(os.listdir(folder))) for folder in FOLDERS]}}


class InputFolder:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        return {"ui": {"text": [",".join(sorted(os.listdir(folder_paths.get_input_directory())))]}}


NODE_CLASS_MAPPINGS = {"TestFolderHarm": Harm, "TestFolders": Folders, "TestInputFolder": InputFolder}
