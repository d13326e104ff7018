"""Which class is taken for which, at the score from which detections are shown."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from rcnn.analysis.matching import Found, Matching, assigned, reaches

BACKGROUND = "background"


@dataclass(frozen=True)
class Confusion:
    """Rows are true classes, columns predicted ones, the last of each is the background.

    The last column counts objects that no detection lies on, the last row detections that lie on no object; the
    lower right corner is 0.
    """

    names: tuple[str, ...]
    """The class names, then `background`."""
    table: Int64[np.ndarray, "K1 K1"]
    score: float
    iou: float

    def most_confused(self, count: int = 5) -> list[tuple[str, str, int]]:
        """The true class, the predicted one and how often, of the pairs of unlike classes that are most frequent."""
        table = self.table[:-1, :-1] * ~np.eye(len(self.table) - 1, dtype=bool)
        order = np.argsort(-table, axis=None, kind="stable")[:count]
        cells = zip(*np.unravel_index(order, table.shape), strict=True)
        return [(self.names[t], self.names[p], int(table[t, p])) for t, p in cells if table[t, p]]

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"names": list(self.names), "table": self.table.tolist(), "score": self.score, "iou": self.iou}


def confusion_matrix(matching: Matching, score: float = 0.5) -> Confusion:
    """Count the pairs of detections of at least a score and the objects that they lie on, whatever their classes.

    In each picture the best detection chooses first and takes the free object that it overlaps most, at least by the
    matching's IoU; at equal overlap one of its own class. Detections on difficult objects and crowds are left out.
    """
    found, truth, classes = matching.found, matching.truth, len(matching.class_names)
    keep = reaches(found.scores, score)
    shown = _only(found, keep)
    taken = assigned(truth, shown, len(matching.ids), matching.iou, by_class=False)
    hit = np.append(truth.counts, False)[taken]
    unclaimed = truth.counts.copy()
    unclaimed[taken[hit]] = False
    false = shown.labels[taken < 0]
    rows = np.concatenate((truth.labels[taken[hit]], np.full(len(false), classes + 1), truth.labels[unclaimed]))
    columns = np.concatenate((shown.labels[hit], false, np.full(unclaimed.sum(), classes + 1)))
    table = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(table, (rows - 1, columns - 1), 1)
    return Confusion((*matching.class_names, BACKGROUND), table, score, matching.iou)


def _only(found: Found, keep: Bool[np.ndarray, "D"]) -> Found:
    return Found(**{name: column[keep] for name, column in vars(found).items()})
