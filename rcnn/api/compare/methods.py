"""The tables of the four methods: what they find, how long they train, how long they take for a picture."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rcnn.api.compare.plan import NAMES, SEARCHING, Plan
from rcnn.api.compare.record import Record
from rcnn.report import papers
from rcnn.report.compare import Column, Section, Table
from rcnn.report.compare_plots import Bars, Lines
from rcnn.report.words import counted


class Times(NamedTuple):
    """Seconds of a method: of its training, of selective search before it, and of a picture at test."""

    train: float | None
    train_search: float | None
    proposals: float | None
    convolutions: float
    regions: float

    @property
    def test(self) -> float:
        """A picture, without proposals."""
        return self.convolutions + self.regions

    @property
    def test_all(self) -> float | None:
        """A picture, with proposals."""
        return plus(self.test, self.proposals)

    @property
    def train_all(self) -> float | None:
        """Training, with proposals."""
        return plus(self.train, self.train_search)


def times_of(record: Record, method: str) -> Times:
    """The times of a method's own run."""
    trained, seconds, search = record.trained(method), record.measured(method).seconds, record.searched
    assert seconds is not None
    if method not in SEARCHING or search is None:
        return Times(trained.total, 0.0, seconds.proposals, seconds.convolutions, seconds.regions)
    whole = None if search.train_seconds is None else search.train_seconds * trained.pictures
    return Times(trained.total, whole, search.test_seconds, seconds.convolutions, seconds.regions)


def method_sections(plan: Plan, record: Record) -> list[Section]:
    """The tables that every comparison has."""
    times = {method: times_of(record, method) for method in plan.methods}
    network = papers.letter(plan.asked.backbone)
    return [
        _overview(record, times, network),
        _accuracy(plan, record, times),
        *_classes(record, times),
        _training(record, times),
        _testing(times, network),
        _speedups(times, network),
    ]


def _overview(record: Record, times: Mapping[str, Times], network: str) -> Section:
    name = papers.NETWORKS[network]
    columns = (
        Column("method", ""),
        Column("training, s"),
        Column("test, s a picture", "{:.3f}"),
        Column("mAP (VOC 07), %"),
        Column(f"training, h ({name})", "{:g}", True),
        Column("test, s a picture", "{:g}", True),
        Column("mAP (VOC 07), %", "{:.1f}", True),
    )
    rows = []
    for method, time in times.items():
        paper = papers.METHODS[method].get(network, papers.Published())
        test = time.test if method in SEARCHING else time.test_all
        own = (time.train, test, percent(record.measured(method).mAP))
        rows.append((NAMES[method], *own, paper.train_hours, paper.test_seconds, paper.map07))
    says = (
        "As in the papers, times leave selective search out but count Faster R-CNN's own proposals. The papers' SPPnet "
        "with VGG16 has five scales, its times are its authors'; their Faster R-CNN is trained in four steps."
    )
    return Section("methods", "The methods", says, Table(columns, tuple(rows)))


def _accuracy(plan: Plan, record: Record, times: Mapping[str, Times]) -> Section:
    columns = (
        Column("method", ""),
        Column("mAP (VOC 07), %"),
        Column("AP50, %"),
        Column("AP, %"),
        Column("AP50 (COCO test-dev), %", "{:.1f}", True),
        Column("AP (COCO test-dev), %", "{:.1f}", True),
    )
    found = {method: record.measured(method) for method in times}
    rows = [
        (NAMES[m], percent(f.mAP), percent(f.AP50), percent(f.AP), *papers.COCO.get(m, (None, None)))
        for m, f in found.items()
    ]
    points = {NAMES[m]: [(times[m].test_all, percent(found[m].AP50))] for m in times}
    plot = Lines(
        "Accuracy and time",
        "Each method is a point: further up finds more, further left takes less time, proposals included.",
        points,
        "seconds a picture, with proposals",
        "AP50, %",
        log=True,
        joined=False,
    )
    pictures = next(iter(found.values())).pictures
    says = f"On {counted(pictures, 'picture')} of split {plan.asked.split}. The papers' numbers are with VGG16 on COCO."
    says += "".join(f" {NAMES[m]}: {warning}." for m in times for warning in found[m].warnings)
    complete = all(point[0] is not None for (point,) in points.values())
    return Section("accuracy", "Accuracy", says, Table(columns, tuple(rows)), (plot,) if complete else ())


def _classes(record: Record, methods: Iterable[str]) -> list[Section]:
    """AP of each class; nothing where there is one class, whose AP is the mean."""
    found = {method: record.measured(method).per_class for method in methods}
    published = {method: papers.PER_CLASS[method] for method in found if method in papers.PER_CLASS}
    names = list(dict.fromkeys(name for classes in found.values() for name in classes))
    if len(names) < 2:
        return []
    columns = (
        Column("class", ""),
        *(Column(f"{NAMES[method]}, %") for method in found),
        *(Column(f"{NAMES[method]}, % (VGG16)", "{:.1f}", True) for method in published),
    )
    rows = tuple(
        (
            name,
            *(percent(classes.get(name)) for classes in found.values()),
            *(classes.get(name) for classes in published.values()),
        )
        for name in names
    )
    says = "AP of VOC 2007's protocol. The papers' numbers stand beside the classes that are named as VOC names them."
    return [Section("classes", "Accuracy by class", says, Table(columns, rows))]


def _training(record: Record, times: Mapping[str, Times]) -> Section:
    rows: list[tuple[str | float | None, ...]] = []
    for method, time in times.items():
        if method in SEARCHING:
            rows.append((NAMES[method], record.source, time.train_search))
        rows += [(NAMES[method], stage, seconds) for stage, seconds in record.trained(method).seconds.items()]
        rows.append((NAMES[method], "all", time.train_all))
    stages = dict.fromkeys(str(row[1]) for row in rows if row[1] != "all")
    known = {(row[0], row[1]): row[2] for row in rows}
    labels = tuple(NAMES[method] for method in times)
    series = {stage: [_number(known.get((label, stage))) for label in labels] for stage in stages}
    plot = Bars(
        "Training by stage", "Seconds of each stage, one after the other.", labels, series, "seconds", stacked=True
    )
    says = (
        "Seconds of gradient descent and of solving; validation is not counted. Proposals from outside are those of "
        "one core: the median of a few pictures times their number. The features of regions are part of the stage svm."
    )
    columns = (Column("method", ""), Column("stage", ""), Column("seconds"))
    return Section("training", "Training by stage", says, Table(columns, tuple(rows)), (plot,))


def _testing(times: Mapping[str, Times], network: str) -> Section:
    names = ("proposals", "convolutions", "regions")
    own = [Column(f"{name}, ms", "{:,.1f}") for name in (*names, "all")]
    published = [Column(f"{name}, ms", "{:,.0f}", True) for name in (*names, "all")]
    rows = []
    for method, time in times.items():
        paper = papers.PHASES_MS.get(method, {}).get(network, (None, None, None))
        parts = [millis(time.proposals), millis(time.convolutions), millis(time.regions)]
        whole = None if None in paper else sum(number for number in paper if number is not None)
        rows.append((NAMES[method], *parts, millis(time.test_all), *paper, whole))
    labels = tuple(NAMES[method] for method in times)
    series = {name: [_number(row[place]) for row in rows] for place, name in enumerate(names, start=1)}
    series["convolutions"] = [None if m == "rcnn" else ms for m, ms in zip(times, series["convolutions"], strict=True)]
    plot = Bars(
        "A picture at test",
        "Milliseconds of one picture, on a logarithmic scale: finding proposals, the convolutions that all regions "
        "share (R-CNN has none), and the rest. The shorter, the faster.",
        labels,
        series,
        "milliseconds",
        log=True,
    )
    says = (
        "Medians over a few pictures, one at a time, selective search on one core and never from a cache; reading the "
        "file is left out. R-CNN shares nothing: all its convolutions are its regions'."
    )
    return Section(
        "testing", "A picture at test", says, Table((Column("method", ""), *own, *published), tuple(rows)), (plot,)
    )


def _speedups(times: Mapping[str, Times], network: str) -> Section:
    columns = (
        Column("method", ""),
        Column("training", "{:.1f}x"),
        Column("with proposals", "{:.1f}x"),
        Column("test", "{:.1f}x"),
        Column("with proposals", "{:.1f}x"),
        Column("training", "{:g}x", True),
        Column("test", "{:g}x", True),
    )
    base, rows = times.get("rcnn"), []
    for method, time in times.items():
        paper = papers.METHODS[method].get(network, papers.Published())
        own = (
            (None,) * 4
            if base is None
            else (
                over(base.train, time.train),
                over(base.train_all, time.train_all),
                over(base.test, time.test),
                over(base.test_all, time.test_all),
            )
        )
        rows.append((NAMES[method], *own, paper.train_speedup, paper.test_speedup))
    says = (
        "How many times faster than R-CNN. The papers leave proposals out; with them, selective search holds all "
        "methods but the last back."
    )
    if base is None:
        says += " R-CNN is not among the methods compared, so that the papers' figures alone stand here."
    return Section("speed-up", "Speed-up over R-CNN", says, Table(columns, tuple(rows)))


def percent(share: float | None) -> float | None:
    """Of 1."""
    return None if share is None else 100 * share


def millis(seconds: float | None) -> float | None:
    """Milliseconds."""
    return None if seconds is None else 1000 * seconds


def plus(one: float | None, other: float | None) -> float | None:
    """A sum; nothing where a part is not known."""
    return None if one is None or other is None else one + other


def over(one: float | None, other: float | None) -> float | None:
    """A ratio; nothing where a part is not known or nothing."""
    return None if one is None or not other else one / other


def _number(cell: str | float | None) -> float | None:
    return cell if isinstance(cell, float | int) else None
