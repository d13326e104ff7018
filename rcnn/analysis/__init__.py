"""What a detector does, beyond one number: curves, confusion, where AP is lost, which stage lost an object, bad labels.

Nothing here draws or reads files. Everything is computed from samples and their detections (`match`), and stage blame
from a model's stages (`rcnn.methods.stages`). `docs/analysis.md` says how each number is defined.
"""

from rcnn.analysis.analysis import Analysis, analyse
from rcnn.analysis.blame import CAUSES, Blame, StageBlame, blame_missed
from rcnn.analysis.confusion import Confusion, confusion_matrix
from rcnn.analysis.counts import Counts, SizeCount, count
from rcnn.analysis.curves import ClassCurve, class_curves
from rcnn.analysis.decomposition import KINDS, Decomposition, ErrorKind, Example, decompose
from rcnn.analysis.label_errors import SUSPICIONS, Suspect, suspected_label_errors
from rcnn.analysis.matching import Found, Matching, Truth, match

__all__ = [
    "CAUSES",
    "KINDS",
    "SUSPICIONS",
    "Analysis",
    "Blame",
    "ClassCurve",
    "Confusion",
    "Counts",
    "Decomposition",
    "ErrorKind",
    "Example",
    "Found",
    "Matching",
    "SizeCount",
    "StageBlame",
    "Suspect",
    "Truth",
    "analyse",
    "blame_missed",
    "class_curves",
    "confusion_matrix",
    "count",
    "decompose",
    "match",
    "suspected_label_errors",
]
