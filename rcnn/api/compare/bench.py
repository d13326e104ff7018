"""Where runs are trained and detectors measured: what the pieces of a comparison ask for."""

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median

from torch import nn

from rcnn.api.compare.plan import NUMBERS, SEARCHING, Plan, Recipe
from rcnn.api.compare.record import Measured, PhaseSeconds, Recalled, Searched, Trained
from rcnn.api.data import read_data, split
from rcnn.api.loading import load
from rcnn.api.measuring import evaluate_protocols, evaluation_samples
from rcnn.api.proposals import recall_of, search_proposals
from rcnn.api.regions import SearchTeller, attached
from rcnn.api.training import prepare_training
from rcnn.bench.phases import phase_seconds
from rcnn.compression.svd import parameters
from rcnn.data.picture import resolve
from rcnn.errors import ConfigError
from rcnn.evaluation import Protocol, check_protocol
from rcnn.inference.predictor import Detector
from rcnn.proposals.cache import cache_folder
from rcnn.proposals.files import ProposalTable, read_proposals, write_proposals
from rcnn.proposals.selective_search import Mode, one_core, rank_scores, selective_search
from rcnn.runs import RunFolder, read_metadata
from rcnn.sample import DataSet, Sample
from rcnn.training.session import Listener

SEARCHED = 2000
"""Of a picture so many regions are kept, or as many as some method or study asks for."""
PROPOSALS = "proposals.safetensors"
PROTOCOLS: tuple[Protocol, Protocol] = ("coco", "voc07")
Adapt = Callable[["Bench", Detector, list[Sample]], tuple[Detector, list[Sample]]]
"""From a trained detector and the pictures to those of a study: other parts, other regions."""
Listening = Callable[[RunFolder], AbstractContextManager[Listener]]


@dataclass
class Bench:
    """The plan, the pictures, and who listens to training."""

    plan: Plan
    listening: Listening

    @cached_property
    def dataset(self) -> DataSet:
        """The data, all of it looked at."""
        asked = self.plan.asked
        return read_data(self.plan.data, asked.bad_boxes, asked.format)

    @property
    def proposals(self) -> str | None:
        """The file of regions for the methods that make none."""
        if self.plan.asked.proposals:
            return str(self.plan.asked.proposals)
        found = self.plan.out / PROPOSALS
        return str(found) if found.is_file() else None

    def check(self) -> None:
        """Raise an error for splits without pictures, regions that lack some, and given runs of other classes."""
        tested = split(self.dataset, self.plan.asked.split, "--split NAME")
        every = [*self._part("train"), *self._part("val"), *tested]
        check_protocol(tested, self.dataset.class_names, "coco")
        if self.plan.asked.proposals and any(method in SEARCHING for method in self.plan.methods):
            attached(every, read_proposals(self.plan.asked.proposals, self.dataset))
        for method, run in self.plan.asked.given.items():
            names = read_metadata(RunFolder(run).best)["class_names"]
            if set(names) != set(self.dataset.class_names):
                raise ConfigError(
                    f"--run {method}={run}: knows the classes {', '.join(names)}, and the data has "
                    f"{', '.join(self.dataset.class_names)}; give a run of the same classes"
                )

    def search(self) -> Searched:
        """Find regions for all pictures, unless a file of them is given, and time the search of a few."""
        asked, mode = self.plan.asked, self._mode()
        train, tested = self._part("train"), split(self.dataset, asked.split, "--split NAME")
        if self.proposals is None:
            every = {sample.id: sample for sample in (*train, *self._part("val"), *tested)}
            cores, tell = asked.search_workers, SearchTeller(len(every))
            table = search_proposals(list(every.values()), mode, self._most(), cores, cache_folder(), tell)
            write_proposals(self.plan.out / PROPOSALS, table)
        file = Path(str(self.proposals))
        method = read_proposals(file, self.dataset).method
        searched = method == "selective-search"
        seconds = [self._search_seconds(part, mode) if searched else None for part in (train, tested)]
        return Searched(
            file=str(file), method=method, train_seconds=seconds[0], test_seconds=seconds[1], timed=asked.timed
        )

    def train(self, recipe: Recipe) -> Trained:
        """Train a run to its end, or go on with it, or take it as it was given."""
        folder = self.plan.folder(recipe)
        if recipe.name not in self.plan.asked.given:
            self._train(recipe, folder)
        rows = folder.metrics.read_text("utf-8").splitlines() if folder.metrics.is_file() else []
        seconds: dict[str, float] = {}
        for row in map(json.loads, rows):
            if row["split"] == "train":
                seconds[row["stage"]] = seconds.get(row["stage"], 0.0) + row["seconds"]
        return Trained(run=str(folder.path), seconds=seconds, pictures=len(self._part("train")))

    def measure(self, recipe: Recipe, adapt: Adapt, timed: bool) -> Measured:
        """The accuracy, and if asked the time, of a run's detector on the split; `adapt` makes it what is studied."""
        detector, samples = self._subject(recipe, adapt)
        (coco, voc), _ = evaluate_protocols(detector, samples, PROTOCOLS)
        some = spread(samples, self.plan.asked.timed) if timed else []
        seconds = PhaseSeconds(**asdict(phase_seconds(detector, some, self.plan.asked.repeats))) if timed else None
        return Measured(
            pictures=len(samples),
            AP=_known(coco.metrics["AP"]),
            AP50=_known(coco.metrics["AP50"]),
            mAP=_known(voc.metrics["mAP"]),
            per_class={name: _known(numbers["AP"]) for name, numbers in voc.per_class.items()},
            seconds=seconds,
            timed=len(some),
            head_parameters=parameters(fully_connected(detector)),
            warnings=list(dict.fromkeys(coco.warnings + voc.warnings)),
        )

    def recall(self, recipe: Recipe, adapt: Adapt, numbers: Sequence[int]) -> Recalled:
        """How many true boxes of the split the regions cover with which a run's detector works."""
        _, samples = self._subject(recipe, adapt)
        boxes = {sample.id: sample.proposals for sample in samples if sample.proposals is not None}
        table = ProposalTable("", {}, boxes, {key: rank_scores(len(rows)) for key, rows in boxes.items()})
        found = recall_of(self.dataset, samples, table)
        return Recalled(
            numbers=list(numbers),
            recall50=[_known(found.at(number, 0.5)) for number in numbers],
            average=[_known(found.average_at(number)) for number in numbers],
        )

    def detector(self, recipe: Recipe) -> Detector:
        """The best detector of a run that is complete."""
        asked = self.plan.asked
        return load(self.plan.folder(recipe).path, asked.device, precision=asked.precision or "fp32")

    def _subject(self, recipe: Recipe, adapt: Adapt) -> tuple[Detector, list[Sample]]:
        """What is measured, and the pictures to measure it on, with regions where it needs them."""
        detector, run = self.detector(recipe), self.plan.folder(recipe).path
        samples = evaluation_samples(
            detector, self.dataset, self.plan.asked.split, run, self.proposals if detector.proposer else None
        )
        return adapt(self, detector, samples)

    def _train(self, recipe: Recipe, folder: RunFolder) -> None:
        asked, begun = self.plan.asked, folder.last.is_file()
        with self.listening(folder) as listener:
            prepared = prepare_training(
                self.plan.data,
                folder.path,
                listener,
                recipe.config,
                train_split=asked.train_split,
                val_split=asked.val_split,
                backbone_weights=asked.backbone_weights,
                proposals=self.proposals if recipe.method in SEARCHING else None,
                device=asked.device,
                resume=begun,
                overwrite=not begun,
                bad_boxes=asked.bad_boxes,
                format=asked.format,
            )
            prepared.training.run()

    def _part(self, role: str) -> list[Sample]:
        """The pictures to learn from (`train`), or to choose by (`val`)."""
        asked = self.plan.asked
        name = (asked.train_split if role == "train" else asked.val_split) or role
        return [] if name == "none" else split(self.dataset, name, f"--{role}-split NAME")

    def _mode(self) -> Mode:
        """Of selective search, as the methods that need it say; they share its regions."""
        return next(config.model.proposals.mode for method, config in self.plan.configs.items() if method in SEARCHING)

    def _most(self) -> int:
        """Regions of a picture that are kept: what any method or study may ask for."""
        settings = [config.model.proposals for config in self.plan.configs.values()]
        studied = max(NUMBERS[self._mode()]) if "proposals" in self.plan.asked.studies else 0
        return max(SEARCHED, studied, *(number for s in settings for number in (s.train, s.test)))

    def _search_seconds(self, samples: Sequence[Sample], mode: Mode) -> float:
        """Of a picture: the median over a few, each searched once, by this process, on one core."""
        pictures = [resolve(sample.picture) for sample in spread(samples, self.plan.asked.timed)]
        with one_core():
            selective_search(pictures[0], mode)
            return median(_seconds(partial(selective_search, picture, mode)) for picture in pictures)


def fully_connected(detector: Detector) -> nn.Module:
    """The layers fc6, fc7 ... of a detector's head."""
    return detector.model.get_submodule("head.layers")


def unchanged(bench: Bench, detector: Detector, samples: list[Sample]) -> tuple[Detector, list[Sample]]:
    """A detector as it was trained."""
    return detector, samples


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` samples, evenly spaced."""
    return [samples[place * len(samples) // count] for place in range(count)] if len(samples) > count else list(samples)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
