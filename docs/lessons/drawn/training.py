"""How training goes: the four steps, end to end or not, optimizers and schedules."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn.drawing import Drawn, numbers_table
from drawn.lab import Lab, Watcher, code, detector_of, fresh_model, settings, train
from drawn.timing import HOW, least_seconds
from matplotlib.axes import Axes

from rcnn.api.measuring import evaluate_detector
from rcnn.build.training import optimizer_settings, schedule
from rcnn.report import diagrams as show
from rcnn.runs import write_text
from rcnn.sample import DataSet

STEPS = (
    ("1  RPN", "trains", "trains", "-"),
    ("2  detector", "fresh, trains", "proposed before", "trains"),
    ("3  RPN", "frozen", "fresh, trains", "-"),
    ("4  detector", "frozen", "proposed before", "trains"),
)
"""Step, convolutions, the RPN's own layers, the detector's own layers."""
COLOURS = {
    "trains": "#9ECAE1",
    "fresh, trains": "#9ECAE1",
    "frozen": "#F5C6A5",
    "proposed before": "#EEEEEE",
    "-": "white",
}


def study(lab: Lab, name: str, measure: Callable[[], dict[str, Any]], **about: object) -> dict[str, Any]:
    """What `measure` gives, kept in the lab's cache where it has one until the lab or `about` changes."""
    if lab.cache is None:
        return measure()
    file = lab.cache / f"{name}.json"
    key = {
        "config": lab.config.model_dump(mode="json"),
        "pictures": len(lab.data.splits["train"]),
        "code": code(),
    } | about
    if file.is_file():
        stored = json.loads(file.read_text("utf-8"))
        if stored["key"] == key:
            return stored["found"]
    found = measure()
    write_text(file, json.dumps({"key": key, "found": found}))
    return found


def four_steps(lab: Lab) -> Drawn:
    """What each step trains and freezes, and how losses and proposals go."""
    figure, axes = show.new_figure(2, 1, 8.4, 5.4, height_ratios=(1, 1.5))
    _plan(axes[0, 0])
    rows = lab.record.rows
    _curves(axes[1, 0], rows)
    table = []
    for name in dict.fromkeys(row["stage"] for row in rows):
        last = [row for row in rows if row["stage"] == name][-1]
        moved = [f"{lab.record.moved[name][part]:.5f}" for part in ("backbone", "rpn", "head")]
        table.append((name, *moved, f"{sum(last['losses'].values()):.3f}", f"{last['recall']:.3f}"))
    heads = ("step", "convolutions moved", "RPN moved", "head moved", "loss at its end", "proposals' recall at its end")
    score, scenes = lab.record.metrics.get("AP50", 0.0), len(lab.data.splits["test"])
    return Drawn(
        figure,
        "Above: what each step does with the three parts. Below: losses and the recall of the best 100 proposals at "
        "IoU 0.7 on test scenes, epoch after epoch. In step 2 the convolutions move for the detector alone, and the "
        "RPN, left as it was, no longer fits them: nothing is shared yet. The table: the mean distance that the "
        "weights of each part went; 0 is frozen. After step 4 the detector has AP50 "
        f"{score:.2f} on {scenes} test scenes.",
        numbers_table(heads, table),
    )


def _plan(axis: Axes) -> None:
    from matplotlib.patches import Rectangle

    parts = ("convolutions", "RPN's own layers", "detector's own layers")
    for column, (step, *states) in enumerate(STEPS):
        axis.text(column + 0.5, -0.15, f"step {step}", ha="center", fontsize=9, fontweight="bold")
        for row, state in enumerate(states):
            place = ((column + 0.04, row + 0.06), 0.92, 0.86)
            axis.add_patch(Rectangle(*place, facecolor=COLOURS[state], edgecolor="#888888", linewidth=0.8))
            axis.text(column + 0.5, row + 0.5, state, ha="center", va="center", fontsize=9)
    for row, part in enumerate(parts):
        axis.text(-0.06, row + 0.5, part, ha="right", va="center", fontsize=9)
    axis.set(xlim=(0, 4), ylim=(3, -0.45))
    axis.axis("off")


def _curves(axis: Axes, rows: list[dict[str, Any]]) -> None:
    """Losses of each step, and the recall, over all epochs."""
    names = list(dict.fromkeys(row["stage"] for row in rows))
    for name, colour in zip(names, (show.BLUE, show.VERMILLION, show.SKY, show.ORANGE), strict=False):
        places = [place for place, row in enumerate(rows) if row["stage"] == name]
        losses = [sum(rows[place]["losses"].values()) for place in places]
        axis.plot(np.array(places) + 1, losses, "o-", color=colour, markersize=3.5, label=f"loss of step {name}")
        axis.axvline(places[0] + 0.5, color=show.GRAY, linewidth=0.6, linestyle=":")
    axis.plot(range(1, len(rows) + 1), [row["recall"] for row in rows], "k--", linewidth=1.4, label="proposals' recall")
    axis.set(xlabel="epoch", xticks=range(2, len(rows) + 1, 2), ylim=(0, 1.75), xlim=(0.5, max(1, len(rows)) + 0.5))
    axis.legend(fontsize=8, frameon=False, ncols=3, loc="upper center")


def end_to_end(lab: Lab) -> Drawn:
    """What a mini-batch of 64 regions costs, from few pictures or from many."""
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= len(lab.data.splits["train"])]
    rows, all_seconds, head_seconds = [], [], []
    for count in counts:
        images = lab.batch(range(count), "train").batch.images
        whole, fixed = (_step_seconds(lab, images, 64 // count, updated) for updated in (True, False))
        all_seconds.append(whole)
        head_seconds.append(fixed)
        share = f"{whole / all_seconds[0]:.1f} x"
        rows.append((str(count), str(64 // count), f"{1000 * whole:,.0f}", f"{1000 * fixed:,.0f}", share))
    figure, axes = show.new_figure(1, 1, 6.4, 2.9)
    axis, places = axes[0, 0], np.arange(len(counts))
    axis.bar(places - 0.2, 1000 * np.array(all_seconds), 0.4, color=show.BLUE, label="all layers learn")
    axis.bar(places + 0.2, 1000 * np.array(head_seconds), 0.4, color=show.ORANGE, label="convolutions fixed")
    axis.set(xticks=places, xticklabels=counts, xlabel="pictures that the 64 regions come from")
    axis.set(ylabel="milliseconds a step")
    axis.legend(fontsize=8, frameon=False)
    heads = ("pictures", "regions of each", "ms, all layers learn", "ms, convolutions fixed", "against one picture")
    return Drawn(
        figure,
        f"One step, forward and backward, over 64 regions of the lessons' network; {HOW}. Fast R-CNN takes "
        "them from two pictures; drawn from all regions of the data at random, as for R-CNN and SPPnet, they would "
        "come from about 64.",
        numbers_table(heads, rows),
    )


def _step_seconds(lab: Lab, images: torch.Tensor, regions: int, updated: bool) -> float:
    """Forward and backward of some regions a picture."""
    torch.manual_seed(0)
    corners = torch.rand(len(images), regions, 2) * 100
    boxes = torch.cat((corners, corners + 20 + 40 * torch.rand(len(images), regions, 2)), dim=-1)
    model = lab.model

    def step() -> None:
        with torch.set_grad_enabled(updated):
            features = model.features(images)
        logits, deltas = model.head(model.describe(features, boxes))
        (logits.square().mean() + deltas.square().mean()).backward()

    seconds = least_seconds(step)
    model.zero_grad(set_to_none=True)
    return seconds


SGD: dict[str, object] = {"training.optimizer": "sgd", "training.lr": 0.02, "training.weight_decay": 5e-4}
ADAMW: dict[str, object] = {"training.optimizer": "adamw", "training.lr": 1e-3, "training.weight_decay": 0.02}
RUNS = {
    "SGD, steps": SGD | {"training.schedule": "step"},
    "SGD, cosine": SGD | {"training.schedule": "cosine"},
    "AdamW, steps": ADAMW | {"training.schedule": "step"},
    "AdamW, cosine": ADAMW | {"training.schedule": "cosine"},
}
COMMON = {"training.scheme": "approximate-joint", "training.lr_pictures": 0, "training.drops": [0.7]}
STYLES = ((show.VERMILLION, "-"), (show.VERMILLION, "--"), (show.BLUE, "-"), (show.BLUE, "--"))


def optimizers(lab: Lab) -> Drawn:
    """The same short joint training with two optimizers and two schedules."""
    found = study(lab, "optimizers", lambda: {name: _learn(lab, own) for name, own in RUNS.items()}, runs=RUNS)
    figure, axes = show.new_figure(1, 2, 8.4, 3.1)
    rows = []
    for (name, run), (colour, line) in zip(found.items(), STYLES, strict=True):
        axes[0, 0].plot(run["rates"], color=colour, linestyle=line, label=name)
        axes[0, 1].plot(range(1, len(run["losses"]) + 1), run["losses"], color=colour, linestyle=line, marker="o", ms=3)
        rows.append((name, f"{run['losses'][0]:.3f}", f"{run['losses'][-1]:.3f}", *(f"{v:.2f}" for v in run["recall"])))
        rows[-1] = (*rows[-1], f"{run['AP50']:.3f}")
    axes[0, 0].set(xlabel="step", ylabel="learning rate", yscale="log", ylim=(1e-5, 0.1))
    axes[0, 0].legend(fontsize=8, frameon=False, ncols=2, loc="upper center")
    axes[0, 1].set(xlabel="epoch", ylabel="sum of the four losses")
    epochs = len(next(iter(found.values()))["losses"])
    heads = ("", "loss, epoch 1", f"loss, epoch {epochs}", *(f"recall, {n}" for n in range(1, epochs + 1)), "AP50")
    return Drawn(
        figure,
        f"Approximate joint training from random weights, {epochs} epochs of {_pictures(lab)} scenes, one seed: the "
        f"rate and the training loss. SGD: rate {SGD['training.lr']} at its peak, weight decay "
        f"{SGD['training.weight_decay']}; AdamW: {ADAMW['training.lr']} and {ADAMW['training.weight_decay']}. The "
        "table adds the proposals' recall at IoU 0.7 after each epoch and AP50 on the test scenes.",
        numbers_table(heads, rows),
    )


def _pictures(lab: Lab) -> int:
    return min(200, len(lab.data.splits["train"]))


def _learn(lab: Lab, changes: dict[str, object]) -> dict[str, Any]:
    """A short joint training: its rates, losses, recall and AP50."""
    epochs = 5 if lab.cache else 1
    config = settings(**COMMON, **changes, training__epochs=epochs)
    data = DataSet({**lab.data.splits, "train": lab.data.splits["train"][: _pictures(lab)]}, lab.data.class_names)
    model = fresh_model(config, len(data.class_names))
    watcher = Watcher(detector_of(model, config, data), data.splits["test"], say=lab.cache is not None)
    with tempfile.TemporaryDirectory() as folder:
        train(model, config, data, Path(folder) / "run", watcher)
    steps = epochs * -(-_pictures(lab) // config.training.batch)
    full, factor = optimizer_settings(config.training).lr, schedule(config.training, steps).factor
    rows = watcher.record.rows
    return {
        "rates": [full * factor(step) for step in range(steps)],
        "losses": [sum(row["losses"].values()) for row in rows],
        "recall": [row["recall"] for row in rows],
        "AP50": evaluate_detector(watcher.detector, data.splits["test"])[0].metrics["AP50"],
    }
