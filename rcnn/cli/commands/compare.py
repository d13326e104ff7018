"""`rcnn compare`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rcnn.cli import options as o
from rcnn.errors import ConfigError
from rcnn.paths import refuse_missing_data
from rcnn.presets.family import METHODS, check_names

ALL = ",".join(METHODS)

Folder = Annotated[
    Path,
    typer.Option(metavar="FOLDER", callback=o.writable_folder, help="For the runs, compare.json and compare.html."),
]
Methods = Annotated[str, typer.Option(help="Which, with commas between them.")]
BackboneName = Annotated[str, typer.Option(help="The network of all methods.")]
Given = Annotated[
    list[str] | None, typer.Option("--run", metavar="METHOD=RUN", help="Take this run, train none; repeatable.")
]
SetsFor = Annotated[
    list[str] | None,
    typer.Option("--set-for", metavar="METHOD:KEY=VALUE", help="A setting of one method; repeatable."),
]
Split = Annotated[str, typer.Option(help="The part of the data to measure on.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on; methods and studies may join.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a comparison in the same folder.")]
Timed = Annotated[int, typer.Option(min=1, help="Pictures whose time is taken.")]
Repeats = Annotated[int, typer.Option(min=1, help="Measurements of each time.")]


def compare(
    data: o.DataArgument,
    out: Folder,
    methods: Methods = ALL,
    backbone: BackboneName = "mobilenet-v2",
    backbone_weights: o.BackboneWeights = None,
    given: Given = None,
    svm: Annotated[bool, typer.Option("--svm", help="Study: softmax against support vector machines.")] = False,
    scales: Annotated[bool, typer.Option("--scales", help="Study: one scale against five.")] = False,
    number: Annotated[bool, typer.Option("--proposals-study", help="Study: how many proposals.")] = False,
    multi_task: Annotated[bool, typer.Option("--multi-task", help="Study: what multi-task training gives.")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Study: which layers are tuned.")] = False,
    svd: Annotated[bool, typer.Option("--svd", help="Study: truncated SVD at a few ranks.")] = False,
    schemes: Annotated[bool, typer.Option("--schemes", help="Study: the schemes of Faster R-CNN's training.")] = False,
    rpn: Annotated[bool, typer.Option("--rpn", help="Study: selective search against an RPN.")] = False,
    all_studies: Annotated[bool, typer.Option("--all-studies", help="All that the methods allow.")] = False,
    epochs: o.Epochs = None,
    size: o.Size = None,
    seed: o.Seed = None,
    workers: o.Workers = None,
    sets: o.Sets = None,
    sets_for: SetsFor = None,
    split: Split = "test",
    train_split: o.TrainSplit = None,
    val_split: o.ValSplit = None,
    proposals: o.ProposalsFile = None,
    device: o.Device = "auto",
    precision: o.ComparedPrecision = None,
    timed: Timed = 5,
    repeats: Repeats = 3,
    bad_boxes: o.BadBoxes = "fail",
    data_format: o.DataFormat = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> int:
    """Train and measure the methods on one data set with one backbone, beside the papers' numbers.

    Leaves their runs, compare.json with all numbers, and compare.html, a page with tables and drawings."""
    return start(data, out, with_words(locals()), resume, overwrite)


def start(data: Path, out: Path, options: Mapping[str, Any], resume: bool, overwrite: bool) -> int:
    """Compare, if the data is there."""
    refuse_missing_data(data)
    from rcnn.cli.compare import asked_for, carry_out

    return carry_out(data, out, asked_for(options), resume, overwrite)


def with_words(options: Mapping[str, Any]) -> dict[str, Any]:
    """The command's options, by name, texts taken apart; raises ConfigError for words that mean nothing."""
    methods = tuple(word for word in dict.fromkeys(part.strip() for part in options["methods"].split(",")) if word)
    runs = pairs(options["given"] or (), "=", "--run", "METHOD=RUN", "fast-rcnn=runs/fast-rcnn")
    changed = pairs(options["sets_for"] or (), ":", "--set-for", "METHOD:KEY=VALUE", "fast-rcnn:training.lr=0.01")
    check_names(methods, [method for method, _ in runs], [method for method, _ in changed], options["backbone"])
    return {**options, "methods": methods, "given": runs, "sets_for": changed}


def pairs(texts: Sequence[str], sign: str, option: str, form: str, example: str) -> list[tuple[str, str]]:
    """Texts cut in two at their first `sign`; raises ConfigError, with an `example`, for one that has none."""
    cut = [(first.strip(), rest.strip()) for first, found, rest in (text.partition(sign) for text in texts)]
    for text, (first, rest) in zip(texts, cut, strict=True):
        if not (first and rest):
            raise ConfigError(f"{option} {text}: not {form}; write it like {option} {example}")
    return cut
