"""CIFAR-10's files: read as they are published, and never run."""

import pickle

import numpy as np
import pytest

from rcnn.data.cifar import CLASS_NAMES, is_cifar10, read_batch, read_cifar10
from rcnn.errors import DataError


def rows(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def write(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def python2(data, labels):
    """The bytes that Python 2 wrote for such a batch, opcode by opcode: its strings are bytes without encoding."""
    short = lambda text: b"U" + bytes([len(text)]) + text  # noqa: E731
    raw = data.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + short(b"b") + b"\x87R"
    dtype = (
        b"cnumpy\ndtype\n"
        + short(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + short(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    shape = b"K" + bytes([len(data)]) + b"M\x00\x0c\x86"
    state = b"(K\x01" + shape + dtype + b"\x89" + b"T" + len(raw).to_bytes(4, "little") + raw + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + short(b"data") + array + state + short(b"labels") + numbers + b"u."


def test_a_batch_of_python_2_is_read(tmp_path):
    data = rows(3)
    (tmp_path / "data_batch_1").write_bytes(python2(data, [9, 0, 4]))
    pictures = read_batch(tmp_path / "data_batch_1")
    assert [p.label for p in pictures] == [9, 0, 4]
    for picture, row in zip(pictures, data, strict=True):
        assert picture.picture.shape == (32, 32, 3)
        assert (picture.picture[5, 7] == row.reshape(3, 32, 32)[:, 5, 7]).all()


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("names", [("data", "labels"), (b"data", b"labels")], ids=["text", "bytes"])
def test_batches_that_python_3_wrote_are_read(tmp_path, protocol, names):
    data = np.asfortranarray(rows(4)) if protocol == 3 else rows(4)
    path = write(tmp_path / "batch", dict(zip(names, (data, [1, 2, 3, 4]), strict=True)), protocol)
    assert [p.label for p in read_batch(path)] == [1, 2, 3, 4]
    first = np.stack([p.picture.transpose(2, 0, 1).ravel() for p in read_batch(path)])
    assert (first == data).all()


def test_the_folder_is_batches_to_learn_from_and_test_to_measure_by(tmp_path):
    for n in (1, 2):
        write(tmp_path / f"data_batch_{n}", {"data": rows(6, n), "labels": [0, 1] * 3})
    assert is_cifar10(tmp_path)
    drawn = read_cifar10(tmp_path)
    assert (len(drawn.train), len(drawn.val)) == (10, 2)
    write(tmp_path / "test_batch", {"data": rows(2), "labels": [5, 6]})
    data = read_cifar10(tmp_path)
    assert (len(data.train), [p.label for p in data.val], data.class_names) == (12, [5, 6], CLASS_NAMES)
    assert len({p.id for p in data.train}) == 12
    assert not is_cifar10(tmp_path / "nowhere")


class Intruder:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def hidden_pointers():
    """An array of objects whose type claims to hold plain bytes: NumPy would take them for addresses."""
    evil = python2(rows(1), [0]).replace(b"U\x02u1", b"U\x02O8")
    assert b"O8" in evil
    return evil


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path):
    path = write(tmp_path / "data_batch_1", {"data": Intruder(tmp_path / "owned"), "labels": [0]})
    with pytest.raises(DataError, match=r"data_batch_1: not a file of CIFAR-10 \(it refers to .*open\)"):
        read_batch(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a letter\nto a friend",
        b"\x80\x02cos\nsystem\nU\x04true\x85R.",
        b"\x80\x02cbuiltins\neval\nU\x031+1\x85R.",
        b"\x80\x02c_codecs\ndecode\nU\x041234U\x03zip\x86R.",
        b"\x80\x02cnumpy\nload\nU\x01x\x85R.",
        hidden_pointers(),
        python2(rows(2), [0, 1])[:-900],
        pickle.dumps({"data": rows(2), "labels": [0, 11]}, 2),
        pickle.dumps({"data": rows(2), "labels": [0]}, 2),
        pickle.dumps({"data": rows(2), "labels": [[], 1]}, 2),
        pickle.dumps({"data": rows(2)[:, :100], "labels": [0, 1]}, 2),
        pickle.dumps({"data": rows(2).astype(np.float64), "labels": [0, 1]}, 2),
        pickle.dumps({"data": np.array([{}, []], object), "labels": [0, 1]}, 2),
        pickle.dumps([1, 2, 3]),
    ],
    ids=range(15),
)
def test_whatever_is_no_batch_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with pytest.raises(DataError, match="data_batch_1: not a file of CIFAR-10") as caught:
        read_batch(path)
    assert "\n" not in str(caught.value)
