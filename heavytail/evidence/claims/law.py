"""Claims about networks that nothing has trained: what start plus noise prunes, settled by a thousand repeats."""

from __future__ import annotations

from heavytail.evidence import untrained
from heavytail.evidence.claims.claim import INFINITY, RATIO_MARGIN, Claim

LAW: tuple[Claim, ...] = (
    Claim(
        "law-noise-compresses",
        "Start plus noise, with no data and no training, is more compressible than the start. In the settings of "
        "ECG5000.",
        "D",
        "ecg5000",
        "pruning ratio with noise less without",
        (0.0, INFINITY),
        "untrained-ecg5000",
        untrained.compressibility,
        RATIO_MARGIN,
    ),
    Claim(
        "law-heavier-compresses-more",
        "Start plus noise is the more compressible the smaller α, at equal median displacement. In the settings of "
        "ECG5000.",
        "D",
        "ecg5000",
        "pruning ratio at the smallest α less at the largest",
        (0.0, INFINITY),
        "untrained-ecg5000",
        untrained.heavier_tail,
        RATIO_MARGIN,
    ),
    Claim(
        "law-gaussian-compresses-less",
        "Start plus Gaussian noise, matched by kick or in total, is less compressible. In the settings of ECG5000.",
        "D",
        "ecg5000",
        "pruning ratio at α = 1.75 less at α = 2",
        (0.0, INFINITY),
        "untrained-ecg5000",
        untrained.against_gaussian,
        RATIO_MARGIN,
    ),
)
