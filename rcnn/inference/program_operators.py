"""The operators that a program of `rcnn export` calls: those of the methods, and of networks to put into them.

A closed list, since many of torch's own trust what they are given: the gradient of a pooling writes wherever its
indices say. It is what the library's backbones and dozens of timm's networks call, and their near relations.
"""

import re

_ARITHMETIC = (
    "abs add addcmul ceil clamp clamp_min clamp_max cos div erf exp floor floor_divide frac log log2 maximum minimum "
    "mul nan_to_num neg pow reciprocal remainder round rsqrt rsub sign sin sqrt square sub trunc"
)
_LOGIC = (
    "__and__ __or__ __xor__ all any bitwise_and bitwise_not bitwise_or eq ge gt isfinite isnan le logical_and "
    "logical_not logical_or lt masked_fill ne where"
)
_ACTIVATIONS = (
    "celu dropout elu feature_dropout gelu glu hardsigmoid hardswish hardtanh leaky_relu log_softmax mish prelu relu "
    "relu6 selu sigmoid silu softmax softplus tanh"
)
_LAYERS = (
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d addmm avg_pool1d avg_pool2d avg_pool3d baddbmm "
    "batch_norm bmm conv1d conv2d conv_transpose2d einsum group_norm instance_norm layer_norm linear matmul max_pool2d "
    "mm rms_norm scaled_dot_product_attention upsample_bicubic2d upsample_bilinear2d upsample_nearest2d"
)
_REDUCTIONS = "amax amin argmax argmin cumsum linalg_vector_norm max mean min norm prod sort std sum topk var var_mean"
_PLACES = (
    "cat chunk expand expand_as flatten flip gather index index_select meshgrid movedim narrow pad permute "
    "pixel_shuffle pixel_unshuffle repeat reshape reshape_as roll scatter select slice split split_with_sizes squeeze "
    "stack t tile transpose unbind unflatten unsqueeze view view_as"
)
_MAKING = (
    "_assert_scalar _assert_tensor_metadata _to_copy alias arange clone contiguous detach fill full full_like "
    "lift_fresh_copy new_full new_ones new_zeros ones ones_like promote_types scalar_tensor sym_numel sym_size to "
    "type_as zero zeros zeros_like"
)
_ATEN = " ".join((_ARITHMETIC, _LOGIC, _ACTIVATIONS, _LAYERS, _REDUCTIONS, _PLACES, _MAKING)).split()
_KNOWN = re.compile(
    rf"torch\.ops\.aten\.(?:{'|'.join(_ATEN)})_?\.(?!\w*out\b)\w+"  # into given memory, none
    r"|torch\.ops\.rcnn\.(?:nms|roi_align|bin_max)\.default|torch\.ops\.torchvision\.roi_align\.default"
    r"|torch\.sym_\w+|math\.(?:ceil|floor|trunc|sqrt)"
    r"|_operator\.(?:add|sub|mul|floordiv|truediv|mod|neg|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
)


def is_operator(target: str) -> bool:
    """Whether the name of what a program calls is that of a known operator."""
    return _KNOWN.fullmatch(target) is not None
