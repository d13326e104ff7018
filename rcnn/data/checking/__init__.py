"""What is wrong in a data set beyond what its readers see: in its pictures, classes and splits."""

from collections.abc import Mapping

from rcnn.data.checking.classes import class_findings
from rcnn.data.checking.given import sound_samples
from rcnn.data.checking.leaks import leaks
from rcnn.data.checking.pictures import Look, check_pictures, look_at, look_at_pictures
from rcnn.data.defects import Finding, OpenedData

__all__ = ["Look", "all_findings", "check_pictures", "look_at", "look_at_pictures", "sound_samples"]


def all_findings(opened: OpenedData, looks: Mapping[str, Look]) -> list[Finding]:
    """What the reader found, what was seen in the pictures, and what is wrong with classes and splits."""
    seen = [finding for look in looks.values() for finding in look.findings]
    return opened.findings + seen + class_findings(opened) + leaks(opened.dataset, looks)
