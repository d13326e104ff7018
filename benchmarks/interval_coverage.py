"""How often the 95 % interval of AP holds the AP that endless pictures would give, on made-up detections.

    python benchmarks/interval_coverage.py [--pictures 50 100 200] [--repeats 1000] [--resamples 500]

A repeat draws pictures, objects, hits and scores anew from one law, as a new test set would be drawn, and asks for the
interval. `percentile` and `BCa` are the bootstrap's usual intervals, on the same resamples; `t` is the library's. The
last column is how often the paired test calls two detectors of the same law different at p < 0.05.
"""

import argparse
import math
import time

import numpy as np

from rcnn.evaluation.interval import _all_but_one, _numbers, intervals, paired
from rcnn.evaluation.matches import COCO_IOUS, ClassMatches, Matches
from rcnn.evaluation.weighted import weighted_average_precision

CLASSES = {"many": 5.0, "some": 1.5, "few": 0.6}
"""Objects of each class in a picture, on average."""
SHOWN = ("AP", "AP50", "class: many", "class: few")
ENDLESS = 40_000


def simulate(pictures: int, rng: np.random.Generator, detectors: int = 1) -> list[Matches]:
    """So many pictures, and the matches of `detectors` of one law on them. Pictures differ in how hard they are."""
    ease = rng.normal(0, 1, pictures)
    counts = {name: rng.poisson(rate * np.exp(0.5 * rng.normal(size=pictures))) for name, rate in CLASSES.items()}
    return [
        Matches("coco", tuple(CLASSES), COCO_IOUS, tuple(_one_class(c, ease, rng) for c in counts.values()), pictures)
        for _ in range(detectors)
    ]


def _one_class(counts: np.ndarray, ease: np.ndarray, rng: np.random.Generator) -> ClassMatches:
    picture = np.repeat(np.arange(len(counts)), counts)
    picture = picture[rng.random(len(picture)) < 1 / (1 + np.exp(-1.2 - 0.7 * ease[picture]))]
    false = np.repeat(np.arange(len(counts)), rng.poisson(counts.mean(), len(counts)))
    iou = np.append(0.4 + 0.6 * rng.beta(3, 1.6, len(picture)), np.zeros(len(false)))
    pictures = np.append(picture, false)
    scores = np.append(1.5 + 0.5 * ease[picture], np.full(len(false), -0.5)) + 1.2 * rng.normal(size=len(pictures))
    order = np.argsort(-scores)
    hits = iou[order, None] >= np.array(COCO_IOUS)
    return ClassMatches(pictures[order], scores[order], hits, np.ones_like(hits), counts.astype(np.int64))


def bootstrap_intervals(matches: Matches, resamples: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The percentile and the BCa interval (Efron 1987) of the shown numbers."""
    from scipy.special import ndtr, ndtri

    pictures = matches.pictures
    names = ("AP", "AP50", "AP75", *(f"class: {name}" for name in CLASSES))
    shown = [names.index(name) for name in SHOWN]
    value = _numbers(matches, np.ones((1, pictures), np.int64))[0, shown]
    drawn = _numbers(matches, rng.multinomial(pictures, np.full(pictures, 1 / pictures), resamples))[:, shown]
    apart = _numbers(matches, _all_but_one(pictures, rng))[:, shown]
    apart = np.nanmean(apart, axis=0) - apart
    skew = np.nansum(apart**3, axis=0) / (6 * np.nansum(apart**2, axis=0) ** 1.5)
    shift = ndtri(np.clip((drawn < value).mean(axis=0), 1 / resamples, 1 - 1 / resamples))
    z = np.array([[-1.96], [1.96]])
    levels = ndtr(shift + (shift + z) / (1 - skew * (shift + z)))
    columns = enumerate(levels.T)
    bca = np.stack([np.nanquantile(drawn[:, place], level) for place, level in columns], axis=1)
    return {"percentile": np.nanquantile(drawn, (0.025, 0.975), axis=0), "BCa": bca}


def measure(pictures: int, repeats: int, resamples: int, seed: int = 0) -> tuple[dict[str, np.ndarray], float]:
    """Coverage in percent by method, and the share of wrongly told differences."""
    rng = np.random.default_rng(seed)
    (endless,) = simulate(ENDLESS, rng)
    table = weighted_average_precision(endless, np.ones((1, ENDLESS), np.int64))[0]
    truth = np.array([table.mean(), table[:, 0].mean(), table[0].mean(), table[-1].mean()])
    inside: dict[str, np.ndarray] = {}
    told = 0
    for repeat in range(repeats):
        first, second = simulate(pictures, rng, 2)
        own = intervals(first, resamples, repeat)
        ends = {"t": np.array([[own[name].low for name in SHOWN], [own[name].high for name in SHOWN]])}
        for name, (low, high) in (bootstrap_intervals(first, resamples, rng) | ends).items():
            inside[name] = inside.get(name, 0) + ((low <= truth) & (truth <= high))
        told += paired(first, second, resamples, repeat)["AP"].p < 0.05
    return {name: 100 * count / repeats for name, count in inside.items()}, 100 * told / repeats


def main() -> None:
    """Print a table for each number of pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    told = parser.parse_args()
    for pictures in told.pictures:
        began = time.perf_counter()
        covered, wrong = measure(pictures, told.repeats, told.resamples)
        error = math.sqrt(95 * 5 / told.repeats)
        seconds = time.perf_counter() - began
        print(f"\n{pictures} pictures, {told.repeats} repeats (+-{error:.1f} %), {seconds:.0f} s")
        print(f"{'':12}" + "".join(f"{name:>13}" for name in SHOWN))
        for method, values in covered.items():
            print(f"{method:12}" + "".join(f"{value:13.1f}" for value in values))
        print(f"{'paired':12}{wrong:13.1f} % of equal detectors told apart", flush=True)


if __name__ == "__main__":
    main()
