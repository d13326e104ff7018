"""Regions from outside the network beside the samples, for the methods that need them."""

import logging
from collections.abc import Sequence
from pathlib import Path

from rcnn.api.proposals import search_proposals
from rcnn.inference.predictor import Proposer
from rcnn.proposals.cache import cache_folder
from rcnn.proposals.files import ProposalTable, attach, read_proposals
from rcnn.sample import DataSet, Sample

_log = logging.getLogger(__name__)


def with_regions(
    samples: Sequence[Sample], dataset: DataSet, proposer: Proposer | None, file: Path | str | None, workers: int = 0
) -> list[Sample]:
    """The samples with their proposals: from a file, or searched for by `workers` processes and kept in the cache.

    As they are for a method that needs none. Samples that bring proposals keep them unless a file is given.
    """
    if proposer is None:
        if file:
            _log.info("--proposals %s: not needed, Faster R-CNN makes its own", file)
        return list(samples)
    table = read_proposals(Path(file), dataset) if file else _searched(samples, proposer, workers)
    return attached(samples, table)


def attached(samples: Sequence[Sample], table: ProposalTable) -> list[Sample]:
    """The samples with their proposals of a table; those of which it knows nothing must bring their own."""
    bare = [sample for sample in samples if sample.id in table.boxes or sample.proposals is None]
    found = {s.id: s for s in attach(DataSet({"these": bare}, ()), table).splits["these"]}
    return [found.get(sample.id, sample) for sample in samples]


def _searched(samples: Sequence[Sample], proposer: Proposer, workers: int) -> ProposalTable:
    bare = [sample for sample in samples if sample.proposals is None]
    if not bare:
        return ProposalTable("given", {}, {}, {})
    tell = SearchTeller(len(bare))
    return search_proposals(bare, proposer.mode, proposer.most, workers, cache_folder(), tell, proposer.max_pixels)


class SearchTeller:
    """Says now and then how far the search is."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.done = 0

    def __call__(self) -> None:
        self.done += 1
        if self.done % max(1, self.count // 5) == 0:
            _log.info("selective search: %d of %d pictures", self.done, self.count)
