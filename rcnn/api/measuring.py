"""How good a detector is on a data set."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rcnn.api.data import Data, read_data, with_splits_of
from rcnn.api.loading import load_named
from rcnn.api.regions import with_regions
from rcnn.data import samples_of
from rcnn.errors import ConfigError
from rcnn.evaluation import Evaluation, Protocol, check_protocol, evaluate
from rcnn.inference.predictor import Detector
from rcnn.runs import RunFolder
from rcnn.sample import DataSet, Sample
from rcnn.structures import Detections


def measure(
    run: Path | str,
    data: Data,
    split: str = "test",
    protocol: Protocol = "coco",
    weights: str = "best",
    batch: int = 1,
    device: str = "auto",
    proposals: Path | str | None = None,
) -> Evaluation:
    """What `rcnn evaluate` says, as numbers: a run, or `torchvision:NAME`, on a split of a data set.

    `proposals` is a file of regions for the methods that make none; without it they are searched for.
    """
    detector = load_named(str(run), weights, device, "fp32")
    dataset = read_data(data, "drop", max_pixels=detector.max_pixels, channels=detector.preprocess.channels)
    samples = evaluation_samples(detector, dataset, split, Path(run), proposals)
    return evaluate_detector(detector, samples, protocol, batch)[0]


@dataclass(frozen=True)
class Predicted:
    """What was found in the pictures of a split, by a detector or as a file has it."""

    samples: Sequence[Sample]
    detections: Sequence[Detections]
    """One for each sample, in its own pixels."""
    class_names: tuple[str, ...]
    seconds: float | None = None
    """A picture, to detect; None for a file."""
    notes: tuple[str, ...] = ()
    """What is worth knowing of how they came about, a line each."""
    checked: Mapping[Protocol, tuple[str, ...]] = field(default_factory=dict)
    """What `check_protocol` said of the truth, by protocol, where that was asked before detecting."""

    def judge(self, protocol: Protocol) -> Evaluation:
        """The detections held against the truth; the protocol is checked on the truth itself first."""
        known = self.checked.get(protocol)
        notes = check_protocol(self.samples, self.class_names, protocol) if known is None else known
        result = evaluate(self.samples, self.detections, self.class_names, protocol)
        return replace(result, warnings=notes + self.notes + result.warnings)


def detect(
    detector: Detector,
    samples: Sequence[Sample],
    batch: int = 1,
    on_picture: Callable[[], object] = lambda: None,
    protocols: Sequence[Protocol] = (),
) -> Predicted:
    """Look at the pictures of the samples; the `protocols` that they will be judged by are checked before."""
    checked = {protocol: check_protocol(samples, detector.class_names, protocol) for protocol in protocols}
    found, before, began = [], detector.incomplete, time.perf_counter()
    for detections in detector.predict(samples, batch):
        found.append(detections)
        on_picture()
    seconds = (time.perf_counter() - began) / max(1, len(samples))
    cut = detector.incomplete - before
    notes = (f"{cut} pictures had more candidates than the cap; raise model.detections.candidates",) if cut else ()
    return Predicted(samples, found, detector.class_names, seconds, notes, checked)


def evaluate_detector(
    detector: Detector,
    samples: Sequence[Sample],
    protocol: Protocol = "coco",
    batch: int = 4,
    on_picture: Callable[[], object] = lambda: None,
) -> tuple[Evaluation, float]:
    """Detections of the samples, held against their truth, and the seconds a picture that detecting took.

    The protocol is checked on the truth itself first.
    """
    (result,), seconds = evaluate_protocols(detector, samples, (protocol,), batch, on_picture)
    return result, seconds


def evaluate_protocols(
    detector: Detector,
    samples: Sequence[Sample],
    protocols: Sequence[Protocol],
    batch: int = 1,
    on_picture: Callable[[], object] = lambda: None,
) -> tuple[list[Evaluation], float]:
    """The same detections under several protocols, and the seconds a picture that detecting took."""
    predicted = detect(detector, samples, batch, on_picture, protocols)
    return [predicted.judge(protocol) for protocol in protocols], predicted.seconds or 0.0


def evaluation_samples(
    detector: Detector,
    dataset: DataSet,
    split: str,
    run: Path | None,
    proposals: Path | str | None = None,
    search_workers: int = 0,
) -> list[Sample]:
    """The samples of a split, with proposals where the method needs some.

    Where splits were drawn, they are as they were when the run was trained.
    """
    samples = samples_of(with_splits_of(RunFolder(run), dataset) if run else dataset, split)
    if missing := set(dataset.class_names) - set(detector.class_names):
        raise ConfigError(
            f"the data has class {sorted(missing)[0]!r}, which the model does not know "
            f"({', '.join(detector.class_names)}); evaluate on data of the same classes"
        )
    return with_regions(samples, dataset, detector.proposer, proposals, search_workers)
