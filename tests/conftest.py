"""What every test gets: one thread, quiet BLAS, and no way to write outside its own folder."""

import os

# Before numpy or torch are imported: on a busy machine a second thread spins and costs more than it gives.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
# Hypothesis and Matplotlib keep caches; warnings about a folder that cannot be written would be errors here.
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis

# The machine is shared: a slow example is no finding, and the examples are the same in every run.
hypothesis.settings.register_profile("kit", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("kit")
