"""The lessons hang together, and their figures can be drawn."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rcnn.boxes import iou
from rcnn.ops.reference import nms_reference
from rcnn.report import diagrams

LESSONS = Path(__file__).parents[1] / "docs" / "lessons"
PAGES = sorted(LESSONS.glob("*.md"))
QUESTIONS = {
    "border-anchors": "anchors at the border",
    "how-many-anchors": "k fixed at nine",
    "which-backbone": "3x3 layer",
    "why-anchors": "1x1 convolution predicts boxes",
    "pooled-grid": "7 x 7 for every picture size",
    "max-pool-gradient": "gradient pass RoI max pooling",
    "end-to-end": "train end to end",
    "zero-score-box": "score 0 stay",
    "what-is-shared": "each step freeze",
    "optimizers": "Adam or SGD",
    "real-time": "not real-time",
}
"""What learners of the papers ask, and the page that answers."""
METHODS = ("rcnn", "sppnet", "fast-rcnn", "faster-rcnn")
CHEAP = ("labels", "pyramid", "gradient", "zero_score")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
MARK = re.compile(r"<!-- begin:(\w+) -->\n(.*?)<!-- end:\1 -->", re.DOTALL)


@pytest.fixture(scope="module")
def make():
    """The script, as a module."""
    sys.path.insert(0, str(LESSONS))
    spec = importlib.util.spec_from_file_location("lessons_make", LESSONS / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(LESSONS))


def blocks_of(page):
    """The names of a page's figures, and what is written between their marks."""
    return dict(MARK.findall(page.read_text("utf-8")))


def hand_written(page):
    """A page without what the script writes, and without markup."""
    return re.sub(r"\]\([^)]*\)|<!--.*?-->", "", MARK.sub("", page.read_text("utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_exist(page):
    missing = [link for link in LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_is_short(page):
    words = len(hand_written(page).split())
    assert 150 <= words <= 400, f"{page.name} has {words} words"


@pytest.mark.parametrize("name", [*METHODS, *QUESTIONS])
def test_every_method_and_every_question_has_a_page_with_a_figure(name):
    page = LESSONS / f"{name}.md"
    assert QUESTIONS.get(name, "#") in page.read_text("utf-8").splitlines()[0]
    assert blocks_of(page)


def test_the_index_lists_every_page():
    listed = set(LINK.findall((LESSONS / "README.md").read_text("utf-8")))
    assert {page.name for page in PAGES} - {"README.md"} <= listed


def test_every_figure_has_one_place_and_is_there(make):
    places = [name for page in PAGES for name in blocks_of(page)]
    assert sorted(places) == sorted(make.FIGURES)
    for page in PAGES:
        for name, text in blocks_of(page).items():
            assert f"(figures/{name}.png)" in text, f"{page.name}: run docs/lessons/make.py --only {name}"


def test_the_figures_stay_small():
    assert sum(path.stat().st_size for path in (LESSONS / "figures").iterdir()) < 2_500_000
    assert {path.suffix for path in (LESSONS / "figures").iterdir()} == {".png"}


def test_cheap_figures_are_drawn_and_written_into_their_pages(make, tmp_path, capsys):
    only = [word for name in CHEAP for word in ("--only", name)]
    make.main([*only, "--untrained", "--out", str(tmp_path)])
    texts = {name: text for page in tmp_path.glob("*.md") for name, text in blocks_of(page).items()}
    for name in CHEAP:
        assert f"![{name}](figures/{name}.png)" in texts[name]
        with Image.open(tmp_path / "figures" / f"{name}.png") as image:
            assert min(image.size) > 100
    assert len(capsys.readouterr().out.splitlines()) == len(CHEAP)


@pytest.mark.parametrize(("name", "left"), [("dog", "ACD"), ("cat", "BCD")])
def test_nms_leaves_of_the_toy_table_what_the_page_says(name, left):
    text = (LESSONS / "zero-score-box.md").read_text("utf-8")
    heads, _, *rows = [
        [cell.strip() for cell in row.split("|")] for row in re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    ]
    boxes = torch.tensor([[float(corner) for corner in row[1].split(",")] for row in rows])
    scores = torch.tensor([float(row[heads.index(name)]) for row in rows])
    valid, groups = torch.ones(1, len(rows), dtype=torch.bool), torch.zeros(1, len(rows), dtype=torch.int64)
    index, kept = nms_reference(boxes[None], scores[None], groups, valid, 0.5, len(rows))
    assert "".join(sorted(rows[place][0] for place in index[kept].tolist())) == left
    assert f"{float(iou(boxes[:1], boxes[1:2])):.2f}" in text


def test_an_untrained_network_is_never_drawn_into_the_pages(make, capsys):
    with pytest.raises(SystemExit):
        make.main(["--untrained"])
    assert "give --out too" in capsys.readouterr().err


def test_boxes_cells_and_bins_stand_at_their_pixels():
    figure, axes = diagrams.new_figure(1, 1, 2, 2)
    axis = axes[0, 0]
    diagrams.show_picture(axis, np.zeros((40, 60, 3), np.uint8), "title", fade=1.0)
    diagrams.show_boxes(axis, np.array([[4.0, 8, 20, 30]]), diagrams.BLUE)
    diagrams.show_bins(axis, np.array([[1, 3, 2, 4]]), 8, [diagrams.GREEN], 0.2)
    outline, fill, edge = (patch.get_bbox().extents.tolist() for patch in axis.patches)
    assert outline == [4, 8, 20, 30]
    assert fill == edge == [16, 8, 32, 24]
    assert axis.get_xlim() == (0, 60)
    assert axis.get_ylim() == (40, 0)
    assert int(axis.images[0].get_array().min()) == 255  # faded all the way to white
    diagrams.show_cells(axis, (5, 7), 8)
    rows, columns = axis.collections
    assert len(rows.get_paths()) == 6
    assert len(columns.get_paths()) == 8
    assert figure.axes == [axis]


def test_a_map_and_points_and_a_key_are_drawn_in_their_own_units():
    _, axes = diagrams.new_figure(1, 1, 2, 2)
    axis = axes[0, 0]
    diagrams.show_map(axis, np.arange(6.0).reshape(2, 3), "a map")
    assert axis.images[0].get_extent() == [0, 3, 2, 0]
    diagrams.show_points(axis, np.array([[0.5, 1.5]]), diagrams.SKY)
    assert axis.collections[0].get_offsets().tolist() == [[0.5, 1.5]]
    diagrams.show_key(axis, {"here": diagrams.BLUE, "truth": "dashed black"})
    assert [line.get_linestyle() for line in axis.get_legend().get_lines()] == ["-", "--"]
