"""What the stages of one run share, and what they ask for: sessions, proposals, features, measurements."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from rcnn import build
from rcnn.acceleration.graphs import capture_on
from rcnn.api.loading import uses_bf16
from rcnn.api.measuring import evaluate_detector
from rcnn.api.proposals import rpn_proposals
from rcnn.api.regions import attached
from rcnn.config import Config
from rcnn.data.loader import Batches
from rcnn.data.raw import lays_out
from rcnn.heads.box_head import SVMHead
from rcnn.inference.predictor import Detector
from rcnn.methods import RCNN, FasterRCNN, Method
from rcnn.proposals.files import read_proposals, write_proposals
from rcnn.runs import RunFolder
from rcnn.sample import Sample
from rcnn.training.averaging import Averaged
from rcnn.training.box_statistics import measure_boxes
from rcnn.training.cores import beside_workers
from rcnn.training.extraction import extract, with_candidates
from rcnn.training.feature_plan import FeaturePlan, content_key
from rcnn.training.features import FeatureFile
from rcnn.training.loop import Trainer
from rcnn.training.optim import make_optimizer
from rcnn.training.regions import Regions, regions_of
from rcnn.training.ridge import train_regressors
from rcnn.training.schemes import Fit, Learn
from rcnn.training.session import Listener, Session
from rcnn.training.staged import Tools, still
from rcnn.training.svm import train_svms

_log = logging.getLogger(__name__)


@dataclass
class Workshop:
    """The model, the settings, the pictures and the place of one run."""

    model: Method
    config: Config
    folder: RunFolder
    class_names: tuple[str, ...]
    train: Sequence[Sample]
    val: Sequence[Sample]
    device: torch.device
    listener: Listener

    def tools(self) -> Tools:
        """What the stages ask for."""
        return Tools(self.open, self.propose, self.fit, self.judge if self.val else None, self.sharing_cores)

    def sharing_cores(self) -> AbstractContextManager[None]:
        """Where the network leaves the processes that prepare pictures their cores."""
        return beside_workers(self.config.training.workers, self.device)

    def open(self, stage: Learn, metadata: Mapping[str, Any]) -> Session:
        """A session for a stage of gradient descent."""
        self.measure_targets()
        batch = stage.length.batch or None
        train, val = (self._batches(part, own, batch) for part, own in ((self.train, True), (self.val, False)))
        moves = self._moves(train)
        epochs, settings = stage.length.epochs_of(moves), self.config.training
        train.sampler.mosaic_epochs = settings.augment.mosaic_until * epochs
        averaged = Averaged(self.model, settings.ema, stage.trains) if settings.ema else None
        return Session(
            self._trainer(stage, epochs * moves, averaged),
            self.model,
            self.folder,
            metadata,
            epochs,
            train,
            val if self.val else None,
            self.judge,
            self.listener,
            judged=stage.judged,
            stage=stage.name,
            save_seconds=60 * settings.save_minutes,
            averaged=averaged,
            patience=settings.patience,
        )

    def iterations(self, stage: Learn) -> int:
        """How often a stage moves the weights."""
        moves = self._moves(self._batches(self.train, batch=stage.length.batch or None))
        return stage.length.epochs_of(moves) * moves

    def _moves(self, train: Batches) -> int:
        """How often an epoch moves the weights."""
        return -(-len(train) // self.config.training.accumulate)

    def measure_targets(self) -> None:
        """Set the mean and deviation of the box targets by what the proposals show, where that is asked for."""
        head, layers = self.config.model.head, self.model.head
        if head.measured_boxes and self._proposed:
            training, most = self.config.training, self.config.model.proposals.train
            mirrored, difficult = training.flip > 0, training.train_difficult
            mean, std = measure_boxes(self.train, self.class_names, head.positive_iou, mirrored, most, difficult)
            layers.box_mean.copy_(torch.from_numpy(mean))
            layers.box_std.copy_(torch.from_numpy(std))

    def propose(self, stage: str, again: bool) -> None:
        """Replace the pictures' proposals by the model's own; `again`: by those that it made before."""
        file, samples = self.folder.proposals(stage), [*self.train, *self.val]
        if not again:
            _log.info("%s: the network proposes regions for %d pictures", stage, len(samples))
            assert isinstance(self.model, FasterRCNN)
            limits = build.training_limits(self.config.model)
            detector = self._around(self.model.limited(limits))
            write_proposals(file, rpn_proposals(detector, samples, limits.after))
        table = read_proposals(file)
        self.train, self.val = attached(self.train, table), attached(self.val, table)

    def fit(self, stage: Fit) -> float:
        """Solve for SVMs or box regressors, from features that are on disk afterwards; the seconds of the stage.

        The features belong to the SVMs' stage, those too that were written before an interruption.
        """
        began, regions = time.perf_counter(), self._regions()
        head, file = self.model.head, self._feature_file(regions)
        assert isinstance(head, SVMHead)
        earlier = file.seconds if stage.name == "svm" else 0.0
        self._fill_features(file, regions)
        if stage.name == "svm":
            svms = train_svms(file, self.class_names, build.svm_settings(self.config.training))
            _fill(head.svm, svms.weight, svms.bias)
        elif head.ridge is not None:
            boxes = train_regressors(file, self.class_names, build.ridge_settings(self.config.training))
            _fill(head.ridge, boxes.weight.reshape(-1, boxes.weight.shape[2]), boxes.bias.reshape(-1))
        return earlier + time.perf_counter() - began

    def judge(self) -> dict[str, float]:
        """AP on the pictures that the best epoch is chosen by."""
        detector = self.detector()
        batch = self.config.training.batch if detector.proposer is None else 1  # 2,000 regions fill the memory alone
        result, _ = evaluate_detector(detector, self.val, batch=batch)
        known = {name: result.metrics[name] for name in ("AP", "AP50")}
        return {name: value for name, value in known.items() if not math.isnan(value)}

    def detector(self) -> Detector:
        """The model as it is, ready for pictures."""
        return self._around(self.model)

    def _around(self, model: Method) -> Detector:
        preprocess, most = build.preprocess(self.config.input), self.config.input.max_pixels
        proposer = build.proposer(self.config)
        about: dict[str, Any] = {"max_pixels": most, "proposer": proposer, "fills": self.config.training.compile}
        return Detector(model, preprocess, self.class_names, self.device, **about)

    def _feature_file(self, regions: Sequence[Regions]) -> FeatureFile:
        """The file of all training regions' features, as far as they are written."""
        head = self.model.head
        key = content_key(self._weights(), self.config.input.model_dump(), [sample.id for sample in self.train])
        width = head.pooled_width if self.config.model.head.ridge else 0
        plan = FeaturePlan(regions, key, head.width, width, self.config.training.ridge.iou)
        _log.info("features of %d regions: %s in %s", sum(map(len, regions)), plan.size, self.folder.features)
        return FeatureFile(self.folder.features, plan)

    def _fill_features(self, file: FeatureFile, regions: Sequence[Regions]) -> None:
        """Write what is missing in the file."""
        bf16 = uses_bf16(self.config.training.precision, self.device)
        batches = self._batches(
            with_candidates(self.train, regions), learning=False, batch=1, most=max(map(len, regions))
        )
        extract(self.model, batches, file, self.device, bf16, self._chunk(), self._tell)

    def _regions(self) -> list[Regions]:
        """The candidates of each training picture."""
        most = self.config.model.proposals.train
        return [regions_of(sample, self.class_names, most) for sample in self.train]

    def _weights(self) -> dict[str, Any]:
        """What the features depend on: all of the network but what is solved for from them."""
        state = self.model.state_dict().items()
        return {n: t.float().cpu().numpy() for n, t in state if not n.startswith(("head.svm.", "head.ridge."))}

    def _chunk(self) -> int:
        """Regions that are described at a time: crops are large, and what is pooled from a shared map is small."""
        return self.model.chunk if isinstance(self.model, RCNN) else 512

    def _tell(self, done: int, of: int) -> None:
        if done % max(1, of // 10) == 0:
            _log.info("features of %d of %d pictures", done, of)

    def _trainer(self, stage: Learn, steps: int, averaged: Averaged | None) -> Trainer:
        settings = self.config.training
        batch = stage.length.batch or settings.batch
        optimizer = build.optimizer_settings(settings.model_copy(update={"batch": batch}))
        return Trainer(
            stage.objective,
            make_optimizer(self.model, optimizer, stage.trains),
            build.schedule(settings, steps),
            optimizer.lr,
            self.device,
            uses_bf16(settings.precision, self.device),
            settings.accumulate,
            settings.clip,
            still(self.model, stage.trains),
            after_move=averaged.update if averaged else lambda: None,
            capture=capture_on(self.device) if settings.compile else None,
        )

    def _batches(
        self, samples: Sequence[Sample], learning: bool = True, batch: int | None = None, most: int | None = None
    ) -> Batches:
        """Batches to learn from, shuffled and varied; or as the pictures are."""
        proposals = self._most(learning) if most is None else most
        raw = lays_out(self.device)
        return build.batches(self.config, samples, self.class_names, learning, batch, proposals, raw)

    def _most(self, learning: bool) -> int:
        """How many proposals of a picture take part."""
        model = self.config.model
        if model.method != "faster-rcnn":
            return model.proposals.train if learning else model.proposals.test
        return model.rpn.train_after if self.config.training.scheme == "4-step" and self._proposed else 0

    @property
    def _proposed(self) -> bool:
        return all(sample.proposals is not None for sample in self.train)


def _fill(layer: torch.nn.Linear, weight: Any, bias: Any) -> None:
    """Put a solution in its place."""
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
