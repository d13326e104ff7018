"""From a run or a file to detections of a split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rcnn.api.loading import Precision, load_named
from rcnn.api.measuring import Predicted, detect, evaluation_samples
from rcnn.api.predictions import read_predictions
from rcnn.errors import ConfigError
from rcnn.evaluation import Protocol
from rcnn.inference.predictor import Detector
from rcnn.sample import DataSet, Sample


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

    def samples(self, detector: Detector, run: str, dataset: DataSet, split: str) -> list[Sample]:
        """What a run's detector is measured on; where splits were drawn, as they were when it was trained."""
        return evaluation_samples(detector, dataset, split, Path(run), self.proposals, self.search_workers)

    def look(
        self,
        detector: Detector,
        samples: Sequence[Sample],
        on_picture: Callable[[], object] = lambda: None,
        protocols: Sequence[Protocol] = (),
    ) -> Predicted:
        """What a detector finds; the `protocols` that it will be judged by are checked before, on the truth."""
        return detect(detector, samples, self.batch, on_picture, protocols)

    def rival(
        self, source: str, dataset: DataSet, split: str, samples: Sequence[Sample], class_names: tuple[str, ...]
    ) -> Predicted:
        """What another run, or a file of predictions, finds in the same pictures.

        Raises ConfigError where it does not know the same classes, or its split holds other pictures.
        """
        if source.endswith(".json"):
            found = read_predictions(Path(source), dataset, split, samples)
            _refuse_other_classes(source, found.class_names, class_names)
            return found
        detector = self.detector(source)
        _refuse_other_classes(source, detector.class_names, class_names)
        own = {sample.id: sample for sample in self.samples(detector, source, dataset, split)}
        if missing := next((sample.id for sample in samples if sample.id not in own), None):
            raise ConfigError(
                f"--against {source}: picture {missing} is in split {split} of one run only; train both alike"
            )
        return self.look(detector, [own[sample.id] for sample in samples])


def _refuse_other_classes(source: str, names: tuple[str, ...], class_names: tuple[str, ...]) -> None:
    if names != class_names:
        raise ConfigError(
            f"--against {source}: its classes are {', '.join(names)}, not {', '.join(class_names)}; "
            "compare runs of the same classes"
        )
