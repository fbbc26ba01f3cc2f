"""Memory that training one wide network takes, in a process of its own: `python -m heavytail.lab.bench.peak WIDTH`."""

from __future__ import annotations

import sys
from dataclasses import replace

from heavytail.lab import trainer
from heavytail.lab.bench.stage import ALPHA, ECG5000
from heavytail.lab.runs import Run

STEPS = 5


def main(width: int) -> None:
    """Print peak bytes of the training, above what the program takes by itself, and bytes of weights and data."""
    data = {"ecg5000": ECG5000.data()}
    run = Run(width=10, noise="entrywise", alpha=ALPHA, sigma=0.01, max_steps=2)
    trainer.train(run, data=data, progress=False)  # compiled code and library buffers are not this network's
    before = _peak()
    trainer.train(replace(run, width=width, max_steps=STEPS), data=data, progress=False)
    tensors = (data["ecg5000"].x_train, data["ecg5000"].x_test)
    held = 4 * (width * (ECG5000.inputs + ECG5000.classes) + sum(tensor.numel() for tensor in tensors))
    print(_peak() - before, held)


def _peak() -> int:
    """Highest resident memory of this process so far, bytes; Linux counts it in KiB, macOS in bytes.

    The training must take more than the program did before, or its peak is not seen: a wide network does.
    """
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(int(sys.argv[1]))
