"""Suppression: loops, reference and fast kernel agree, whatever comes in."""

import math
import os
import subprocess
import sys

import pytest
import torch
from oracles import boxes_in, loop_nms, poisoned_memory
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.ops import batched_nms

from rcnn.ops import nms
from rcnn.ops.nms import _kernel
from rcnn.ops.reference import nms_reference


def nms_on_triton(**inputs):
    """The GPU's kernel, on a GPU where there is one, else interpreted."""
    pytest.importorskip("triton", reason="Triton is not installed: it comes with torch for Linux")
    from rcnn.ops.nms_triton import nms_triton

    device = "cuda" if torch.cuda.is_available() else "cpu"
    moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}
    return tuple(result.cpu() for result in nms_triton(**moved))


KERNELS = pytest.mark.parametrize("kernel", [nms, nms_reference, nms_on_triton], ids=["fast", "reference", "triton"])


def scene(pictures, count, groups=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "boxes": boxes_in(count, seed=seed, leading=(pictures,)),
        "scores": torch.rand(pictures, count, generator=generator),
        "groups": torch.randint(0, groups, (pictures, count), generator=generator),
        "valid": torch.rand(pictures, count, generator=generator) > 0.2,
    }


def kept_of(kernel, inputs, threshold, k):
    """The kept indices as one list a picture, after checks of the fixed-size form."""
    index, kept = kernel(**inputs, threshold=threshold, k=k)
    assert index.shape == kept.shape == (len(inputs["boxes"]), k)
    assert index.dtype == torch.int64
    assert kept.dtype == torch.bool
    assert (index[~kept] == 0).all()
    assert torch.equal(kept.int(), kept.int().sort(dim=1, descending=True).values), "filled places come first"
    return [row[keep].tolist() for row, keep in zip(index, kept, strict=True)]


def loops(inputs, threshold, k):
    return [loop_nms(*row, threshold, k) for row in zip(*inputs.values(), strict=True)]


@KERNELS
@pytest.mark.parametrize(("pictures", "count", "k"), [(1, 1, 1), (2, 7, 3), (3, 33, 33), (2, 65, 200), (1, 129, 20)])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_odd_sizes_agree_with_the_loops(kernel, pictures, count, k, threshold):
    inputs = scene(pictures, count, seed=count)
    assert kept_of(kernel, inputs, threshold, k) == loops(inputs, threshold, k)


@KERNELS
@pytest.mark.parametrize(("pictures", "count", "k"), [(0, 5, 3), (2, 0, 3), (0, 0, 0), (2, 5, 0)])
def test_empty_input_gives_empty_places(kernel, pictures, count, k):
    assert kept_of(kernel, scene(pictures, count), 0.5, k) == [[] for _ in range(pictures)]


@KERNELS
def test_torchvision_keeps_the_same_boxes(kernel):
    inputs = scene(1, 201, seed=5) | {"valid": torch.ones(1, 201, dtype=torch.bool)}
    expected = batched_nms(inputs["boxes"][0], inputs["scores"][0], inputs["groups"][0], 0.45)
    assert kept_of(kernel, inputs, 0.45, 201) == [expected.tolist()]


@KERNELS
def test_equal_scores_are_taken_in_the_order_given(kernel):
    inputs = scene(2, 50, groups=1) | {"scores": torch.full((2, 50), 0.5)}
    assert kept_of(kernel, inputs, 0.3, 50) == loops(inputs, 0.3, 50)
    far = {"boxes": torch.arange(9.0)[None, :, None] * 10 + torch.tensor([0.0, 0, 5, 5])}
    ties = far | {"scores": torch.ones(1, 9), "groups": torch.zeros(1, 9).long(), "valid": torch.ones(1, 9).bool()}
    assert kept_of(kernel, ties, 0.5, 9) == [list(range(9))]


@KERNELS
def test_an_overlap_equal_to_the_threshold_survives(kernel):
    boxes = torch.tensor([[[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 1.0]]])  # IoU exactly one half
    rest = {"scores": torch.tensor([[2.0, 1.0]]), "groups": torch.zeros(1, 2).long(), "valid": torch.ones(1, 2).bool()}
    assert kept_of(kernel, {"boxes": boxes} | rest, 0.5, 2) == [[0, 1]]
    assert kept_of(kernel, {"boxes": boxes} | rest, 0.49, 2) == [[0]]


@KERNELS
def test_boxes_without_area_neither_suppress_nor_are_suppressed(kernel):
    inputs = scene(1, 4, groups=1) | {"boxes": torch.full((1, 4, 4), 3.0), "valid": torch.ones(1, 4).bool()}
    assert kept_of(kernel, inputs, 0.0, 4) == loops(inputs, 0.0, 4)
    assert len(kept_of(kernel, inputs, 0.0, 4)[0]) == 4


@KERNELS
def test_scores_that_are_not_finite_never_count(kernel):
    inputs = scene(1, 6, groups=1) | {"valid": torch.ones(1, 6).bool()}
    inputs["scores"] = torch.tensor([[math.nan, math.inf, -math.inf, 0.1, -2.0, math.nan]])
    kept = kept_of(kernel, inputs, 1.0, 6)
    assert kept == loops(inputs, 1.0, 6) == [[3, 4]]


@KERNELS
def test_what_lies_in_invalid_places_does_not_matter(kernel):
    inputs = scene(2, 40)
    expected = kept_of(kernel, inputs, 0.4, 15)
    hidden = ~inputs["valid"]
    for value, group in ((math.nan, 2**62), (math.inf, -(2**62)), (1e30, 2**40)):
        garbage = inputs | {
            "boxes": torch.where(hidden[..., None], value, inputs["boxes"]),
            "scores": torch.where(hidden, value, inputs["scores"]),
            "groups": torch.where(hidden, group, inputs["groups"]),
        }
        assert kept_of(kernel, garbage, 0.4, 15) == expected


@KERNELS
def test_nothing_valid_keeps_nothing(kernel):
    inputs = scene(2, 9)
    nothing = {
        "boxes": torch.full_like(inputs["boxes"], math.nan),
        "scores": torch.full_like(inputs["scores"], math.nan),
        "groups": torch.full_like(inputs["groups"], -1),
        "valid": torch.zeros(2, 9, dtype=torch.bool),
    }
    assert kept_of(kernel, nothing, 0.5, 4) == [[], []]


@KERNELS
def test_a_valid_box_of_nan_suppresses_no_other(kernel):
    inputs = scene(1, 20, groups=1)
    inputs["boxes"][0, 3] = math.nan
    inputs["valid"][0] = True
    without = loops(inputs | {"valid": torch.arange(20)[None] != 3}, 0.4, 20)[0]
    assert [i for i in kept_of(kernel, inputs, 0.4, 20)[0] if i != 3] == without


@KERNELS
def test_poisoned_memory_does_not_show(kernel):
    inputs = scene(2, 31)
    expected = kept_of(kernel, inputs, 0.4, 50)
    with poisoned_memory():
        assert kept_of(kernel, inputs, 0.4, 50) == expected


@KERNELS
def test_a_picture_alone_gives_what_it_gives_in_a_batch(kernel):
    inputs = scene(3, 45)
    together = kept_of(kernel, inputs, 0.4, 20)
    alone = [kept_of(kernel, {k: v[i : i + 1] for k, v in inputs.items()}, 0.4, 20)[0] for i in range(3)]
    assert together == alone


@KERNELS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_of_scores_are_ranked_as_they_are(kernel, dtype):
    inputs = scene(2, 40, seed=3)
    inputs["scores"] = inputs["scores"].to(dtype)
    assert kept_of(kernel, inputs, 0.4, 40) == loops(inputs, 0.4, 40)
    steps = torch.tensor([[1.0, 1.0 + 1e-12]], dtype=torch.float64)  # one number in single precision
    pair = scene(1, 2, groups=1) | {"scores": steps, "valid": torch.ones(1, 2).bool()}
    assert kept_of(kernel, pair, 1.0, 2) == [[1, 0]]


@KERNELS
def test_inputs_need_not_be_contiguous(kernel):
    inputs = scene(2, 30)
    strided = {name: torch.stack((value, value), dim=1)[:, 0] for name, value in inputs.items()}
    strided["boxes"] = inputs["boxes"].permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert kept_of(kernel, strided, 0.4, 12) == kept_of(kernel, inputs, 0.4, 12)


def test_the_operator_keeps_its_contract_with_pytorch():
    torch.library.opcheck(torch.ops.rcnn.nms.default, (*scene(2, 9).values(), 0.5, 4))


def test_gradients_of_other_paths_flow_past_the_operator():
    inputs = scene(1, 12)
    inputs["boxes"].requires_grad_()
    index, _ = nms(**inputs, threshold=0.5, k=3)
    inputs["boxes"][0, index[0]].sum().backward()
    assert inputs["boxes"].grad.sum() == 12


def test_fake_tensors_on_a_gpu_have_the_right_shapes():
    with FakeTensorMode():
        boxes, scores = torch.empty(2, 9, 4, device="cuda"), torch.empty(2, 9, device="cuda")
        index, kept = nms(boxes, scores, scores.long(), scores > 0, 0.5, 4)
    assert index.shape == kept.shape == (2, 4)
    assert (index.dtype, kept.dtype) == (torch.int64, torch.bool)
    assert index.device.type == kept.device.type == "cuda"


LOWERED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from rcnn.ops import nms_triton as kernels

types = {"corners": "*fp32", "group": "*i32", "strikes": "*i64", "kept": "*i8", "count": "i32", "threshold": "fp32"}
rooms = [{"words": words, "room": triton.next_power_of_2(words)} for words in (1, 76, 188)]
for kernel, constants in [(kernels._strike, {}), *((kernels._resolve, room) for room in rooms)]:
    signature = {name: types.get(name, "i32") if name not in constants else "constexpr" for name in kernel.arg_names}
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(name),): value for name, value in constants.items()})
    options = {"num_warps": kernels.warps(constants["room"])} if constants else {}
    print(len(triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm["ptx"]) > 1000)
"""


def test_the_kernels_for_gpus_are_lowered_to_machine_code_without_one(tmp_path):
    pytest.importorskip("triton", reason="Triton is not installed: it comes with torch for Linux")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", LOWERED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == 4 * ["True"], done.stderr[-2000:]


@pytest.fixture
def no_kernel_chosen():
    """Each device's kernel is chosen anew, in the test and after it."""
    _kernel.cache_clear()
    yield
    _kernel.cache_clear()


def test_where_triton_cannot_be_used_the_reference_serves_and_it_is_said(monkeypatch, caplog, no_kernel_chosen):
    """As on a GPU without a C compiler: the first launch fails."""
    monkeypatch.setitem(sys.modules, "rcnn.ops.nms_triton", None)
    assert _kernel("cuda") is nms_reference
    assert "Triton cannot be used" in caplog.text
