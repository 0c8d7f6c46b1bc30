"""Tests that need a GPU: ``python -m pytest -m cuda``."""

import pytest
import torch

GPU = torch.device("cuda", 0)
needs_gpu = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
