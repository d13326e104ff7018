"""The options that commands share, and those that would hide what a command does."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from rcnn import threads
from rcnn.choices import Format, Policy
from rcnn.paths import refuse_unwritable


def writable(option: typer.CallbackParam, path: Path | None) -> Path | None:
    """The file that an option names, which is refused before anything else is done if it cannot be written."""
    if path is not None:
        refuse_unwritable(option.opts[0], path)
    return path


def writable_folder(option: typer.CallbackParam, path: Path | None) -> Path | None:
    """The same of a folder."""
    if path is not None:
        refuse_unwritable(option.opts[0], path, "a file, or inside of one")
    return path


PrecisionName = Literal["auto", "fp32", "bf16"]

DataArgument = Annotated[
    Path, typer.Argument(metavar="DATA", help="A folder in VOC, COCO, YOLO or CSV form, or a file of one.")
]
RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="The folder of a run, an exported file, torchvision:NAME or detectron2:NAME."),
]

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Precision = Annotated[PrecisionName, typer.Option(help="auto: bf16 where it is fast.")]
ComparedPrecision = Annotated[
    PrecisionName | None, typer.Option(help="As the presets train, and fp32 to measure, unless given.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the network first: a minute or more, then faster for many pictures.")
]
TrainingCompile = Annotated[
    bool | None, typer.Option("--compile", help="Compile the network first: minutes, then faster steps.")
]
TrainingPrecision = Annotated[PrecisionName | None, typer.Option(help="auto: bf16 where it is fast.")]
BadBoxes = Annotated[Policy, typer.Option(help="What to do about defective boxes and pictures.")]
TrainingBadBoxes = Annotated[
    Policy | None, typer.Option(help="What to do about defects in the data: fail unless given.")
]
DataFormat = Annotated[Format | None, typer.Option("--format", help="Of the data; else recognised.")]
WhichWeights = Annotated[str, typer.Option(help="best, last, or for torchvision:NAME and detectron2:NAME a file.")]
OthersWeights = Annotated[
    Path | None, typer.Option("--weights", metavar="FILE", help="Of torchvision:NAME or detectron2:NAME.")
]
Together = Annotated[int, typer.Option(min=1, help="Pictures at a time.")]

PresetName = Annotated[
    str | None, typer.Option("--preset", help="One that 'rcnn presets' lists; faster-rcnn-mobilenet-fpn unless given.")
]
Out = Annotated[
    Path | None, typer.Option(callback=writable_folder, help="The run's folder; runs/NAME-OF-DATA unless given.")
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training pictures.")]
Batch = Annotated[int | None, typer.Option(help="Pictures a step.")]
Size = Annotated[int | None, typer.Option(help="Short side of the resized pictures; the long one is at most 5/3.")]
Rate = Annotated[float | None, typer.Option(help="Learning rate; with sgd for 16 pictures a step, then scaled.")]
Seed = Annotated[int | None, typer.Option(help="All chance follows from it.")]
Workers = Annotated[int | None, typer.Option(help="Processes that prepare pictures.")]
TrainSplit = Annotated[str | None, typer.Option(help="Split to learn from: train unless given; also trainval.")]
ValSplit = Annotated[str | None, typer.Option(help="Split to choose the best epoch by: val unless given; or none.")]
BackboneWeights = Annotated[str | None, typer.Option(help="A file, or none; else torchvision's ImageNet weights.")]
StartFrom = Annotated[
    str | None,
    typer.Option("--from", metavar="RUN", help="Begin with a run's weights and settings; torchvision:NAME serves too."),
]
StartWeights = Annotated[
    str | None,
    typer.Option("--weights", metavar="FILE", help="With --from torchvision:NAME or detectron2:NAME: its weights."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run, with its own settings.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run of the same name.")]
NoReport = Annotated[bool, typer.Option("--no-report", help="Do not end with the report on the validation pictures.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings in YAML, as 'rcnn config' prints; or a part.")
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, as training.lr=0.01; repeatable.")
]
ProposeSplit = Annotated[str | None, typer.Option("--split", help="The part of the data; all of it unless given.")]
ProposalsFile = Annotated[
    Path | None,
    typer.Option("--proposals", metavar="FILE", help="Regions for methods that make none; else selective search."),
]
MaxProposals = Annotated[
    int | None, typer.Option(min=1, help="Look at so many of a picture's proposals, the best; as trained unless given.")
]
Scheme = Annotated[
    Literal["auto", "approximate-joint", "4-step", "exact-joint", "multi-task", "stage-wise"] | None,
    typer.Option(
        help="How the parts of a detector learn. Faster R-CNN: approximate-joint, 4-step, exact-joint; Fast R-CNN: "
        "multi-task, stage-wise; the others have one scheme only. auto is the first of each."
    ),
]

LeastScore = Annotated[
    float | None, typer.Option(min=0, max=1, help="Of a detection; else each class's of --threshold-for, or 0.5.")
]
PredictionsFile = Annotated[
    Path | None,
    typer.Option("--predictions", metavar="FILE", help="Measure these COCO results, of any program, instead of a run."),
]
SavePredictions = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", callback=writable, help="Write every detection, for --predictions and other programs."
    ),
]
NumbersFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", callback=writable, help="Write all numbers here.")
]
IntervalFlag = Annotated[bool, typer.Option("--interval", help="Say how far AP could be off for the few pictures.")]
Resamples = Annotated[int, typer.Option(min=100, help="Choices of pictures that intervals and tests are drawn from.")]
ThresholdFor = Annotated[
    str | None,
    typer.Option(
        metavar="GOAL", help="precision=P or recall=R: find and store the score of each class that rcnn predict shows."
    ),
]
Against = Annotated[
    str | None, typer.Option(metavar="RUN2", help="Another run, or a .json of predictions: which of the two is better?")
]
AnalyseFlag = Annotated[bool, typer.Option("--analyse", help="Say where AP is lost, and which stage lost what.")]

cores = threads.cores
