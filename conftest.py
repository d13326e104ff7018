"""What must be settled before anything imports Triton, as torchvision does: pytest reads this before tests/conftest."""

import os

import torch

if not torch.cuda.is_available():  # the GPU's kernels are interpreted; Triton decides that when it is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")
