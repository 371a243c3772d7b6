"""What every test gets: one thread, and the same examples in every run."""

import os

import hypothesis
import pytest

# Before numpy or torch are imported: on a busy machine a second thread spins and costs more than it gives.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["MPLBACKEND"] = "agg"

# The machine may be shared: a slow example is no finding.
hypothesis.settings.register_profile("kit", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("kit")


@pytest.fixture
def double():
    """New tensors are in float64."""
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
