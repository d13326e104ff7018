"""Weights of other libraries, once renamed, in this library's networks: all of them, or none."""

from collections.abc import Mapping

from torch import Tensor, nn

from rcnn.errors import WeightsError


def load_exactly(model: nn.Module, name: str, renamed: Mapping[str, Tensor]) -> None:
    """Fill a network; raises WeightsError, beginning with `name`, where a tensor is missing, too many, or differs."""
    own = model.state_dict()
    wrong = [
        key
        for key in own.keys() | renamed.keys()
        if not key.endswith("num_batches_tracked")
        and (key not in own or key not in renamed or own[key].shape != renamed[key].shape)
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more are" if len(wrong) > 1 else " is"
        raise WeightsError(
            f"{name}: the weights do not fit: {min(wrong)}{more} missing or different; "
            "pass the state dict of that model"
        )
    model.load_state_dict(renamed, strict=False)
