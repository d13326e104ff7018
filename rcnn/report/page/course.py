"""How training went, as its lines of metrics say: which epoch was best, and whether it went on too long."""

from collections.abc import Mapping, Sequence
from typing import Any

FLAT = 2
"""Epochs without a better one before training is said to have turned."""


def course_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The losses and scores of each epoch, counted through all stages, and the best epoch of the last stage.

    `judged_by` is `AP` where validation measured it, else `loss`. `turned`: at least two epochs, and a fifth of all,
    followed the best one. None without lines.
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
        return course | {"best_epoch": None, "after_best": None, "turned": False, "rising": False}
    best = (max if judged_by == "AP" else min)(known, key=lambda pair: pair[1])[0]
    after, length = known[-1][0] - best, known[-1][0] - known[0][0] + 1
    turned = after >= max(FLAT, 0.2 * length)
    return course | {"best_epoch": best, "after_best": after, "turned": turned, "rising": after == 0 and length > 1}


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
