"""Large pages for large tensors: fewer faults, unless the user or the kernel says otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rcnn.memory import LARGE_PAGES, ask_for_large_pages

MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
FAULTS = """
import rcnn, torch
from resource import RUSAGE_SELF, getpagesize, getrusage
from rcnn.bench.pages import with_small_pages

def faults(work):
    before = getrusage(RUSAGE_SELF).ru_minflt
    work()
    return getrusage(RUSAGE_SELF).ru_minflt - before

def fill():
    torch.ones(64, 2**20)

fill()  # what the first call loads is not counted
print(faults(fill), faults(with_small_pages(fill)), faults(fill), 2**28 // getpagesize())
"""


@pytest.mark.skipif(
    not MODE.exists() or "[never]" in MODE.read_text("ascii"), reason="the kernel has no large pages to give"
)
def test_large_tensors_come_in_large_pages_but_for_work_that_shall_have_small_ones():
    environment = {name: value for name, value in os.environ.items() if name != LARGE_PAGES}
    done = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True)
    large, small, again, pages = map(int, done.stdout.split())
    assert small > 0.95 * pages
    assert max(large, again) < small / 4


@pytest.mark.parametrize("said", ["0", "1"])
def test_what_the_environment_says_of_large_pages_stays(monkeypatch, said):
    monkeypatch.setenv(LARGE_PAGES, said)
    ask_for_large_pages()
    assert os.environ[LARGE_PAGES] == said


def test_without_a_word_in_the_environment_large_pages_are_asked_for(monkeypatch):
    monkeypatch.delenv(LARGE_PAGES)  # `rcnn` was imported, which set it
    ask_for_large_pages()
    assert os.environ[LARGE_PAGES] == "1"
