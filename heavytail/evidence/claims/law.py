"""Claims about networks that nothing has trained: what start plus noise prunes, settled by a thousand repeats."""

from __future__ import annotations

from dataclasses import replace

from heavytail.evidence import untrained
from heavytail.evidence.claims.claim import INFINITY, RATIO_MARGIN, Claim

_LAW: tuple[Claim, ...] = (
    Claim(
        "law-noise-compresses",
        "Start plus noise, with no data and no training, is more compressible than the start.",
        "D",
        "",
        "pruning ratio with noise minus without",
        (0.0, INFINITY),
        "",
        untrained.compressibility,
        RATIO_MARGIN,
    ),
    Claim(
        "law-heavier-compresses-more",
        "Start plus noise is the more compressible the smaller α, at equal median displacement.",
        "D",
        "",
        "pruning ratio at the smallest α minus at the largest",
        (0.0, INFINITY),
        "",
        untrained.heavier_tail,
        RATIO_MARGIN,
    ),
    Claim(
        "law-gaussian-compresses-less",
        "Start plus Gaussian noise, matched by kick or in total, is less compressible.",
        "D",
        "",
        "pruning ratio at α = 1.75 minus at α = 2",
        (0.0, INFINITY),
        "",
        untrained.against_gaussian,
        RATIO_MARGIN,
    ),
)


def _in_settings_of(table: str, title: str, chapter: str) -> tuple[Claim, ...]:
    """What the law says in the settings of one table of trained networks."""
    return tuple(
        replace(
            claim,
            id=f"{claim.id}-{table}",
            statement=f"{claim.statement} In the settings of {title}.",
            chapter=chapter,
            table=f"untrained-{table}",
        )
        for claim in _LAW
    )


LAW: tuple[Claim, ...] = (
    *_in_settings_of("ecg5000", "ECG5000", "ecg5000"),
    *_in_settings_of("mnist", "MNIST", "mnist"),
    *_in_settings_of("cifar10", "CIFAR-10", "cifar"),
    *_in_settings_of("cifar100", "CIFAR-100", "cifar"),
    Claim(
        "law-wider-compresses-more",
        "Start plus noise is the more compressible the wider the network, at equal noise a neuron. In the settings of "
        "ECG5000.",
        "D",
        "width",
        "pruning ratio at the largest width minus at the smallest",
        (0.0, INFINITY),
        "untrained-width",
        untrained.wider,
        RATIO_MARGIN,
    ),
)
