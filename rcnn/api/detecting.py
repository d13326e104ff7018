"""From a run or a file to detections of a split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rcnn.api.loading import Precision, load_named
from rcnn.api.measuring import Predicted, detect, evaluation_samples
from rcnn.api.predictions import read_predictions
from rcnn.evaluation import Protocol
from rcnn.inference.predictor import Detector
from rcnn.sample import DataSet


@dataclass(frozen=True)
class Detecting:
    """How a detector is loaded and looks at pictures."""

    weights: str = "best"
    device: str = "auto"
    precision: Precision = "fp32"
    compile: bool = False
    batch: int = 1
    proposals: Path | str | None = None
    max_proposals: int | None = None
    search_workers: int = 0

    def detector(self, run: str) -> Detector:
        """The detector of a run, or `torchvision:NAME`."""
        return load_named(run, self.weights, self.device, self.precision, self.max_proposals, self.compile)

    def look(
        self,
        detector: Detector,
        run: str,
        dataset: DataSet,
        split: str,
        on_picture: Callable[[], object] = lambda: None,
        protocols: Sequence[Protocol] = (),
    ) -> Predicted:
        """What a run's detector finds in a split; where splits were drawn, as they were when it was trained.

        The `protocols` that it will be judged by are checked before, on the truth.
        """
        samples = evaluation_samples(detector, dataset, split, Path(run), self.proposals, self.search_workers)
        return detect(detector, samples, self.batch, on_picture, protocols)

    def rival(self, source: str, dataset: DataSet, split: str, first: Predicted) -> Predicted:
        """What another run, or a file of predictions, finds in the same pictures."""
        if source.endswith(".json"):
            return read_predictions(Path(source), dataset, split, first.samples)
        detector = self.detector(source)
        other = self.look(detector, source, dataset, split)
        return other.of(first)
