"""What `rcnn pretrain` does."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rcnn.api.pretraining import PreparedClassifier, is_finished, prepare_pretraining
from rcnn.cli.progress import TrainingProgress
from rcnn.report.words import counted
from rcnn.training.session import Stopped

_log = logging.getLogger(__name__)


def run(
    folder: Path,
    out: Path,
    settings: Mapping[str, object],
    *,
    device: str,
    workers: int,
    resume: bool,
    overwrite: bool,
) -> int:
    """Train to the end, or until asked to stop; the exit status."""
    if resume and not overwrite and is_finished(out):
        print(f"done: {out} is finished already; --overwrite begins anew")
        return 0
    listener = PretrainingProgress(out.parent)
    begin = {"resume": resume, "overwrite": overwrite}
    prepared = prepare_pretraining(folder, out, listener, settings, device=device, workers=workers, **begin)
    _show_plan(prepared)
    try:
        with listener:
            accuracy = prepared.session.run()
    except Stopped as stopped:
        print(f"rcnn: {stopped}", file=sys.stderr)
        return 130
    name = prepared.settings.backbone
    print(f"done: accuracy {accuracy:.3f}; next: rcnn train DATA --set model.backbone={name} --backbone-weights {out}")
    return 0


class PretrainingProgress(TrainingProgress):
    """Bars as in training, and a line an epoch; no events are written."""

    def epoch_ended(self, rows: Sequence[dict[str, Any]], best: bool) -> None:
        """The epoch's numbers."""
        train, val = rows
        losses = f"train loss {train['loss']:.3f}, val loss {val['loss']:.3f}"
        line = f"epoch {val['epoch']}  {losses}, accuracy {val['accuracy']:.3f}"
        _log.info("%s  %.1f pictures/s%s", line, train["images_per_second"], "  (best so far)" if best else "")


def _show_plan(prepared: PreparedClassifier) -> None:
    """What is about to be trained on what, and what it begins with."""
    session, settings, report = prepared.session, prepared.settings, prepared.report
    train, val = len(session.train.samples), len(session.val.samples)
    classes = counted(len(prepared.class_names), "class", "classes")
    print(f"{counted(train, 'picture')} to learn from, {val} to measure by, {classes}")
    resumed = session.progress.epoch > 1 or session.progress.batches > 0
    begins = f"{len(report.loaded)} tensors loaded, {len(report.kept)} random" if report else "random weights"
    print(f"{settings.backbone} at {settings.size} pixels: {'as it was left' if resumed else begins}")
    rates = [f"{counted(p.epochs, 'epoch')} of {_what(p.last_only)} at {p.lr:g}" for p in session.phases if p.epochs]
    print(f"{', then '.join(rates)}; {'bf16' if session.bf16 else 'fp32'} on {session.device}; to {session.out}")


def _what(last_only: bool) -> str:
    return "the new layer" if last_only else "everything"
