"""Engines that come and go leave the process able to take a signal."""

import subprocess
import sys
from pathlib import Path

import pytest
from exported_files import write_openvino

pytest.importorskip("openvino")
ROOT = Path(__file__).parents[1]
PROGRAM = """
import gc, signal, sys
from rcnn import runtime
signal.signal(signal.SIGINT, lambda *_: print("told"))
for _ in range(2):
    first = runtime.load(sys.argv[1])
    second = runtime.load(sys.argv[1])
    del first
    gc.collect()
    del second
    gc.collect()
signal.raise_signal(signal.SIGINT)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no stacks for signals")
def test_a_signal_is_taken_after_two_engines_have_gone_in_the_order_in_which_they_came(tmp_path):
    file = write_openvino(tmp_path / "model.xml")
    words, environment = [sys.executable, "-c", PROGRAM, str(file)], {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr
