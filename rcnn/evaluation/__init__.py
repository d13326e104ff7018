"""How good detections are, under three protocols: `voc07`, `voc` (2010 and later) and `coco`.

Truth that counts for neither side. An object marked `difficult` or `crowd` is never missed and never found: it adds
nothing to recall, and a detection on it is dropped instead of counted as false. What "on it" means differs:

| object    | voc07, voc                              | coco                                                           |
|-----------|-----------------------------------------|----------------------------------------------------------------|
| difficult | IoU of at least 0.5, any number dropped | ordinary IoU, one detection dropped, further ones are false    |
| crowd     | the same as difficult                   | intersection over detection, any number dropped (`iscrowd`)    |
| both      | the same as difficult                   | the same as crowd                                              |

COCO's programs overwrite an annotation's `ignore` flag with `iscrowd`. A difficult object therefore enters with an
area outside every area range, which their protocol ignores with ordinary IoU.

Limits on detections. COCO's programs take the best `max_detections` of each class in each picture; VOC has no limit.

Coordinates. VOC's boxes are 1-based inclusive integers and its areas (xmax - xmin + 1)(ymax - ymin + 1). Here such a
box is (xmin - 1, ymin - 1, xmax, ymax) with exclusive edges, whose plain area is exactly the same.

A class without countable truth has no average precision: it is NaN (null in JSON) and left out of every mean.
"""

from rcnn.evaluation.protocols import evaluate
from rcnn.evaluation.result import Evaluation, Protocol
from rcnn.evaluation.selftest import check_protocol

__all__ = ["Evaluation", "Protocol", "check_protocol", "evaluate"]
