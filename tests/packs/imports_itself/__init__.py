"""A pack that is a package of the package index, and imports itself as one that is installed."""

from imports_itself.part import NODE_CLASS_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS"]
