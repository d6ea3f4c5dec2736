"""Lowcloud: an open, self-hosted Workers AI."""

from importlib.metadata import version

__version__ = version("lowcloud")
