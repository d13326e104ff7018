"""How training went, as its lines of metrics say: which epoch was best, and whether it went on too long."""

from collections.abc import Mapping, Sequence
from typing import Any

from rcnn.training.patience import enough_patience


def course_of(rows: Sequence[Mapping[str, Any]], patience: int = 0) -> dict[str, Any] | None:
    """The losses and scores of each epoch, counted through all stages, and the best epoch of the last stage.

    `judged_by` is `AP` where validation measured it, else `loss`. `patience` is that of the training; where it had
    none and validation turned, the one returned would have been enough. `rising`: the last epoch was the best. None
    without lines.
    """
    if not rows:
        return None
    last = rows[-1]["stage"]
    numbers = {(row["stage"], row["epoch"]): 0 for row in rows}
    places = {key: number for number, key in enumerate(numbers, 1)}
    epochs = [_epoch(rows, key, number) for key, number in places.items()]
    judged_by = "AP" if any(epoch["AP"] is not None for epoch in epochs) else "loss"
    known = [(e["epoch"], e["AP"] if judged_by == "AP" else e["val_loss"]) for e in epochs if e["stage"] == last]
    known = [(number, value) for number, value in known if value is not None]
    course = {"epochs": epochs, "stages": list(dict.fromkeys(row["stage"] for row in rows)), "judged_by": judged_by}
    if not known:
        return course | {"best_epoch": None, "after_best": None, "patience": None, "rising": False}
    known = known if judged_by == "AP" else [(number, -loss) for number, loss in known]
    best = max(known, key=lambda pair: pair[1])[0]
    after, enough = known[-1][0] - best, None if patience else enough_patience([score for _, score in known])
    rising = after == 0 and len(known) > 1
    return course | {"best_epoch": best, "after_best": after, "patience": enough, "rising": rising}


def _epoch(rows: Sequence[Mapping[str, Any]], key: tuple[str, int], number: int) -> dict[str, Any]:
    of = {row["split"]: row for row in rows if (row["stage"], row["epoch"]) == key}
    train, val = of.get("train", {}), of.get("val", {})
    return {
        "epoch": number,
        "stage": key[0],
        "train_loss": train.get("loss") if train.get("losses") else None,
        "val_loss": val.get("loss") if val.get("losses") else None,
        "AP": val.get("AP"),
        "AP50": val.get("AP50"),
    }
