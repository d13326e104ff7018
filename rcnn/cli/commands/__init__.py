"""The commands: a file each, with its options and what can be told of them before torch is there.

What needs torch is imported by the function that needs it, behind those checks. So help and most errors come at once;
tests hold it. What a command then does and shows, beyond a few lines, stands in `rcnn.cli`.
"""
