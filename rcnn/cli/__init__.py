"""The command line: one small file per command, in a frame that turns errors into one line."""

from rcnn.cli.frame import main

__all__ = ["main"]
