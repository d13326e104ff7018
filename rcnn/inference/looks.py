"""How a picture is looked at: at once, in tiles, or several times; one function for all."""

from collections.abc import Iterable, Iterator

from rcnn.errors import DataError
from rcnn.inference.predictor import Detector, picture_of
from rcnn.inference.tiling import predict_tiled
from rcnn.inference.views import predict_views
from rcnn.inference.ways import Looks
from rcnn.sample import Picture, Sample
from rcnn.structures import Detections


def find_each(
    detector: Detector,
    pictures: Iterable[Picture | Sample],
    looks: Looks,
    batch: int = 1,
    score: float | None = None,
) -> Iterator[Detections | DataError]:
    """The detections of each picture, or why it cannot be read; `Detector.predict_each` where one look is enough.

    Of several looks regions from outside are searched for in each anew.
    """
    if not looks.tiles and not looks.views:
        yield from detector.predict_each(pictures, batch, score)
        return
    for source in pictures:
        picture = picture_of(source)
        try:
            if looks.tiles:
                yield next(predict_tiled(detector, [picture], looks.tiles, batch, score))
            elif looks.views:
                yield next(predict_views(detector, [picture], looks.views, batch, score))
        except DataError as error:
            yield error
