"""Claims about trained networks, measured from tables of runs."""

from __future__ import annotations

from dataclasses import replace

from heavytail.evidence import controls, depths, experiments, widths
from heavytail.evidence.claims.claim import INFINITY, Claim

_PAPER: tuple[Claim, ...] = (
    Claim(
        "noise-compresses",
        "Heavy-tailed noise makes the trained network more compressible.",
        "P",
        "",
        "pruning ratio with noise less without",
        (0.0, INFINITY),
        "",
        experiments.compressibility,
    ),
    Claim(
        "heavier-compresses-more",
        "Compressibility rises as α falls.",
        "D",
        "",
        "pruning ratio at the smallest α less at the largest",
        (0.0, INFINITY),
        "",
        experiments.heavier_tail,
    ),
    Claim(
        "accuracy-before-pruning",
        "Noise barely costs test accuracy before pruning (our threshold: two points).",
        "?",
        "",
        "test accuracy with noise less without",
        (-0.02, INFINITY),
        "",
        experiments.accuracy_before,
    ),
    Claim(
        "accuracy-survives-pruning",
        "Test accuracy survives pruning at squared error 0.1 with minimal degradation (our threshold: two points).",
        "P",
        "",
        "test accuracy after pruning less before",
        (-0.02, INFINITY),
        "",
        experiments.accuracy_kept,
    ),
    Claim(
        "better-at-equal-share",
        "At an equal pruned share the network trained with noise is the more accurate one.",
        "?",
        "",
        "test accuracy with noise less without, mean over shares 0.1 to 0.9",
        (0.0, INFINITY),
        "",
        experiments.accuracy_at_equal_share,
    ),
)


def _on(table: str, title: str, chapter: str) -> tuple[Claim, ...]:
    """The paper's empirical claims, held against one table."""
    return tuple(
        replace(c, id=f"{c.id}-{table}", statement=f"{c.statement} On {title}.", chapter=chapter, table=table)
        for c in _PAPER
    )


EXPERIMENTS: tuple[Claim, ...] = (
    *(replace(claim, chapter="ecg5000", table="ecg5000") for claim in _PAPER),
    Claim(
        "shared-noise-unseen",
        "Type-I noise on ECG5000 does not move the training loss (by more than one part in a thousand).",
        "D",
        "ecg5000",
        "relative change of the train loss",
        (-1e-3, 1e-3),
        "ecg5000-shared",
        experiments.relative_loss,
    ),
    Claim(
        "shared-noise-compresses",
        "Type-I noise on ECG5000 raises the pruning ratio all the same.",
        "M",
        "ecg5000",
        "pruning ratio with noise less without",
        (0.0, INFINITY),
        "ecg5000-shared",
        experiments.shared_compressibility,
    ),
    Claim(
        "small-error-can-collapse",
        "A pruning error of 0.1 does not secure accuracy: some runs collapse, because one column holds the norm (our "
        "threshold: one noisy run in a hundred). On the digits.",
        "M",
        "story",
        "share of noisy runs that lose over ten points of train accuracy",
        (0.01, INFINITY),
        "digits",
        experiments.collapses,
    ),
    Claim(
        "small-error-can-collapse-ecg5000",
        "The same on ECG5000, where our prototype saw one such run in five at σ = 0.2.",
        "M",
        "ecg5000",
        "share of noisy runs that lose over ten points of train accuracy",
        (0.01, INFINITY),
        "ecg5000",
        experiments.collapses,
    ),
    *_on("mnist", "MNIST", "mnist"),
    *_on("cifar10", "CIFAR-10", "cifar"),
    *_on("cifar100", "CIFAR-100", "cifar"),
    *_on("deeper", "MNIST with two to four hidden layers", "deeper"),
    Claim(
        "error-grows-with-depth",
        "Pruning each layer at squared error 0.1 costs the more test accuracy the more layers there are.",
        "D",
        "deeper",
        "test accuracy lost by pruning, at the largest depth less at the smallest",
        (0.0, INFINITY),
        "deeper",
        depths.growth_of_loss,
    ),
    *_on("vgg", "CIFAR-10 with a small VGG", "vgg"),
    Claim(
        "gaussian-compresses-less",
        "It is the heavy tail: Gaussian noise with kicks of the same median size leaves the network less compressible.",
        "D",
        "heavy_tail",
        "pruning ratio at α = 1.75 less at α = 2",
        (0.0, INFINITY),
        "controls",
        controls.against_matched_size,
    ),
    Claim(
        "gaussian-compresses-less-at-equal-accuracy",
        "So does Gaussian noise scaled until the network ends with the same train accuracy.",
        "D",
        "heavy_tail",
        "pruning ratio at α = 1.75 less at α = 2",
        (0.0, INFINITY),
        "controls",
        controls.against_matched_accuracy,
    ),
    Claim(
        "decay-compresses-less",
        "Weight decay that moves the median norm as far compresses less than noise.",
        "D",
        "heavy_tail",
        "pruning ratio with noise less with weight decay",
        (0.0, INFINITY),
        "controls",
        controls.against_decay,
    ),
    Claim(
        "norm-order-matters",
        "The small columns are those to prune: at an equal share a network pruned at random is the less accurate one.",
        "D",
        "heavy_tail",
        "test accuracy pruned by norm less at random, mean over shares 0.1 to 0.9",
        (0.0, INFINITY),
        "controls",
        controls.against_random_pruning,
    ),
    Claim(
        "unseen-noise-unseen",
        "Noise in a direction that no input has a component in leaves the train loss as it is (by one part in 10^4).",
        "D",
        "heavy_tail",
        "relative change of the train loss",
        (-1e-4, 1e-4),
        "controls",
        controls.unseen_loss,
    ),
    Claim(
        "unseen-noise-compresses",
        "It raises the pruning ratio all the same.",
        "D",
        "heavy_tail",
        "pruning ratio with unseen noise less without noise",
        (0.0, INFINITY),
        "controls",
        controls.unseen_compressibility,
    ),
    Claim(
        "wider-compresses-more",
        "With heavy-tailed noise a wider network is the more compressible one.",
        "D",
        "width",
        "pruning ratio at the largest width less at the smallest",
        (0.0, INFINITY),
        "width",
        widths.compressibility,
    ),
    Claim(
        "wider-better-at-equal-share",
        "With heavy-tailed noise a wider network is the more accurate one at an equal pruned share.",
        "?",
        "width",
        "test accuracy at the largest width less at the smallest, mean over shares 0.1 to 0.9",
        (0.0, INFINITY),
        "width",
        widths.accuracy_at_equal_share,
    ),
    Claim(
        "practical-use",
        "The compressibility is of use for model deployment and for federated learning.",
        "P",
        "experiments",
    ),
)
