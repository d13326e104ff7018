"""Which picture of a data set a name or number in another file means."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rcnn.data.files import plain_name
from rcnn.sample import Sample

Names = dict[str | int, str | None]
"""What a picture may be called, and its sample's id; None where two pictures share the name."""


class KnownPictures:
    """Pictures by everything they may be called; exact names go before those without folder or suffix."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        exact: Names = {sample.id: sample.id for sample in samples}
        exact |= {sample.coco_id: sample.id for sample in samples if sample.coco_id is not None}
        loose: Names = {}
        for sample in samples:
            written = [sample.id, *([str(sample.picture)] if isinstance(sample.picture, Path) else [])]
            for name in {form for text in written for form in _forms(text)}:
                loose[name] = sample.id if loose.get(name, sample.id) == sample.id else None
        self._names = loose | exact

    def find(self, named: str | int) -> str | None:
        """The id of the sample that a name or number means; None if it means none, or more than one."""
        if named in self._names:
            return self._names[named]
        return next((self._names[form] for form in _forms(str(named)) if form in self._names), None)


def _forms(name: str) -> tuple[str, str]:
    """A file's name without its folder, and without its suffix."""
    return PurePosixPath(name.replace("\\", "/")).name, plain_name(name)
