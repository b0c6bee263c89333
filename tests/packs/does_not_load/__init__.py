"""A pack that lacks a package."""

import a_package_that_nobody_has  # noqa: F401


class FaceDetailer:
    pass


NODE_CLASS_MAPPINGS = {"TestFaceDetailer": FaceDetailer}
