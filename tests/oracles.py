"""The operators once more, in nested loops over plain numbers: slow, obvious, and sharing no code with the library."""

import math
from contextlib import contextmanager

import torch


def boxes_in(count, side=100.0, seed=0, leading=()):
    """Random boxes with sides of at least one pixel, [*leading, count, 4]."""
    generator = torch.Generator().manual_seed(seed)
    corner, size = torch.rand(2, *leading, count, 2, generator=generator) * side / 2
    return torch.cat((corner, corner + size + 1), dim=-1)


@contextmanager
def poisoned_memory():
    """Freshly allocated tensors hold NaN, or the largest integer, until they are written."""
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def loop_iou(a, b):
    """Intersection over union of two boxes given as four numbers each."""
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union > 0 else 0.0


def loop_nms(boxes, scores, groups, valid, threshold, k):
    """Greedy suppression of one picture: the indices kept, at most `k`."""
    boxes, scores, groups = boxes.tolist(), scores.tolist(), groups.tolist()
    order = [i for i in range(len(scores)) if valid[i] and math.isfinite(scores[i])]
    order.sort(key=lambda i: -scores[i])  # a stable sort: ties in the order given
    kept = []
    for i in order:
        rivals = [j for j in kept if groups[j] == groups[i]]
        if all(loop_iou(boxes[i], boxes[j]) <= threshold for j in rivals):
            kept.append(i)
    return kept[:k]


def loop_roi_align(features, box, stride, size, sampling, aligned):
    """One region read from one level, features [C, H, W]: a nested list [C][size][size]; sampling 0 is adaptive."""
    channels, height, width = features.shape
    cells = features.tolist()
    shift = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (value / stride - shift for value in box)
    w, h = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1.0), max(y2 - y1, 1.0))
    down, across = (sampling or math.ceil(side / size) for side in (h, w))
    pooled = [[[0.0] * size for _ in range(size)] for _ in range(channels)]
    for c in range(channels):
        for row in range(size):
            for column in range(size):
                total = 0.0
                for sy in range(down):
                    for sx in range(across):
                        y = y1 + (row + (sy + 0.5) / down) * h / size
                        x = x1 + (column + (sx + 0.5) / across) * w / size
                        total += _loop_bilinear(cells[c], y, x, height, width)
                pooled[c][row][column] = total / max(down * across, 1)
    return pooled


def _loop_bilinear(cells, y, x, height, width):
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    total = 0.0
    for row in range(height):
        for column in range(width):
            total += cells[row][column] * max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - column))
    return total


def loop_level(box, strides):
    """The index into `strides` (a pyramid's, finest first) of the level that a box is read from."""
    side = math.sqrt(max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]))
    octave = math.floor(4 + math.log2(side / 224) + 1e-6) if side > 0 else -math.inf
    first, last = int(math.log2(strides[0])), int(math.log2(strides[-1]))
    return int(min(max(octave, first), last)) - first


def loop_match(candidates, boxes, usable, skipped):
    """Matching of one picture: a list of (best IoU, index of that box, whether best for some box, ignored)."""
    table = [[loop_iou(c, b) if ok else 0.0 for b, ok in zip(boxes, usable, strict=True)] for c in candidates]
    tops = [max((row[g] for row in table), default=0.0) for g in range(len(boxes))]
    rows = []
    for candidate, overlaps in zip(candidates, table, strict=True):
        iou = max(overlaps, default=0.0)
        index = overlaps.index(iou) if iou > 0 else 0
        best = any(0 < overlap == top for overlap, top in zip(overlaps, tops, strict=True))
        ignored = any(skip and _covers_half(box, candidate) for box, skip in zip(boxes, skipped, strict=True))
        rows.append((iou, index, best, ignored))
    return rows


def _covers_half(box, candidate):
    w = max(0.0, min(box[2], candidate[2]) - max(box[0], candidate[0]))
    h = max(0.0, min(box[3], candidate[3]) - max(box[1], candidate[1]))
    return 2 * w * h >= (candidate[2] - candidate[0]) * (candidate[3] - candidate[1])


def loop_roi_pool(features, box, stride, size):
    """One region of one level, features [C, H, W]: lists [C][size * size] of maxima and of the cells that hold them."""
    x1, y1, x2, y2 = (_half_away(value / stride) for value in box)
    return _loop_maxima(features, _loop_roi_bins(y1, y2, size), _loop_roi_bins(x1, x2, size))


def _half_away(value):
    whole = math.floor(abs(value))
    return int(math.copysign(whole + (abs(value) - whole >= 0.5), value))


def _loop_roi_bins(first, last, size):
    cells = max(last - first + 1, 1)
    return [(first + math.floor(i * (cells / size)), first + math.ceil((i + 1) * (cells / size))) for i in range(size)]


def loop_spp(features, box, stride, bins):
    """One region of one level by SPPnet's rule, lists [C][cells]; cells and pixels are counted from 1 inside."""
    spans = []
    for low, high, extent in ((box[1], box[3], features.shape[1]), (box[0], box[2], features.shape[2])):
        first_pixel, last_pixel = low + 1, high
        cells = range(math.floor(first_pixel / stride) + 1, math.ceil(last_pixel / stride) - 1 + 1)
        cells = [cell for cell in cells if 1 <= cell <= extent]
        spans.append(cells or [min(max(math.floor(first_pixel / stride) + 1, 1), extent)])
    values, holders = [[] for _ in features], [[] for _ in features]
    for n in bins:
        rows, columns = ([_loop_spp_bin(cells, i, n) for i in range(1, n + 1)] for cells in spans)
        for c, (maxima, cells) in enumerate(zip(*_loop_maxima(features, rows, columns), strict=True)):
            values[c] += maxima
            holders[c] += cells
    return values, holders


def _loop_spp_bin(cells, i, n):
    inside = cells[math.floor((i - 1) * len(cells) / n) : math.ceil(i * len(cells) / n)]
    return inside[0] - 1, inside[-1]


def _loop_maxima(features, rows, columns):
    values, holders = [], []
    for channel in features.tolist():
        values.append([])
        holders.append([])
        for top, bottom in rows:
            for left, right in columns:
                best, holder = 0.0, None
                for y in range(max(top, 0), min(bottom, len(channel))):
                    for x in range(max(left, 0), min(right, len(channel[0]))):
                        if holder is None or channel[y][x] > best:
                            best, holder = channel[y][x], (y, x)
                values[-1].append(best)
                holders[-1].append(holder)
    return values, holders


def maps_in(pictures=2, channels=3, shapes=((9, 17), (6, 10)), dtype=torch.float64, seed=0):
    """Random features of several levels, [pictures, channels, height, width] each."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(pictures, channels, *shape, generator=generator, dtype=dtype) for shape in shapes]
