"""Make the networks that lesson 05 sharpens: ``python tools/networks.py`` keeps the weights at the end of two searches.

Each search is that of a shipped recording, done again; its last probabilities have to be the recorded ones.
"""

from __future__ import annotations

import argparse
from collections import deque
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

import nascore
from nascore import Recording, Run, make_task, methods
from nascore.run import Knobs

FOLDER = Path(nascore.__file__).parent / "recordings"
NAMES = ("digits-darts", "digits-snas")


def main() -> None:
    """Command line."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name in NAMES:
        recording = Recording.open(name)
        task = make_task(**recording.meta["task_spec"])
        method = methods.get(recording.meta["method"])
        last = deque(Run(method, task, Knobs(**method.knobs), options=recording.meta["options"]), maxlen=1).pop()
        difference = np.abs(np.asarray(last.probs) - recording[-1].probs).max()
        if difference > 1e-3:
            raise SystemExit(
                f"{name}: probabilities differ from the recorded ones by {difference:.1e}; record it again."
            )
        path = FOLDER / f"{name}.safetensors"
        save_file(task.network.state_dict(), path, {"command": "tools/networks.py", "recording": recording.id})
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB, probabilities within {difference:.1e}")


if __name__ == "__main__":
    main()
