"""What `rcnn train` does."""

from pathlib import Path

from rcnn import api
from rcnn.api.reporting import report_of_training
from rcnn.cli.progress import TrainingProgress, show_plan, trained
from rcnn.config import Config
from rcnn.runs import RunFolder
from rcnn.threads import cores


def run(data: Path, out: Path, config: Config, with_report: bool, **options: object) -> int:
    """Train to the end, or until asked to stop, and write the report; the exit status."""
    listener = TrainingProgress(RunFolder(out).events)
    prepared = api.prepare_training(data, out, listener, config, search_workers=cores(), **options)  # type: ignore[arg-type]
    show_plan(prepared)
    if not trained(prepared, listener):
        return 130
    if with_report and (page := report_of_training(prepared, data.resolve().name)):
        print(f"report: {page}")
    print(f"done: {out} holds the run; next: rcnn evaluate {out} {data} --split test")
    return 0
