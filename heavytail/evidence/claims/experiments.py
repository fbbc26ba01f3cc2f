"""Claims about trained networks, measured from tables of runs."""

from __future__ import annotations

from dataclasses import replace

from heavytail.evidence import controls, depths, experiments, federated, rivals, shipping, untrained, widths
from heavytail.evidence.claims.claim import ACCURACY_MARGIN, INFINITY, RATIO_MARGIN, Claim

_PAPER: tuple[Claim, ...] = (
    Claim(
        "noise-compresses",
        "Heavy-tailed noise makes the trained network more compressible.",
        "P",
        "",
        "pruning ratio with noise at its strongest minus without",
        (0.0, INFINITY),
        "",
        experiments.compressibility,
        RATIO_MARGIN,
    ),
    Claim(
        "heavier-compresses-more",
        "Compressibility rises as α falls.",
        "D",
        "",
        "pruning ratio at the smallest α minus at the largest, noise at its strongest",
        (0.0, INFINITY),
        "",
        experiments.heavier_tail,
        RATIO_MARGIN,
    ),
    Claim(
        "accuracy-before-pruning",
        "Noise barely costs test accuracy before pruning (our threshold: two points).",
        "?",
        "",
        "test accuracy with noise at its strongest minus without",
        (-0.02, INFINITY),
        "",
        experiments.accuracy_before,
    ),
    Claim(
        "accuracy-survives-pruning",
        "Test accuracy survives pruning at squared error 0.1 with minimal degradation (our threshold: two points).",
        "P",
        "",
        "test accuracy after pruning minus before, noise at its strongest",
        (-0.02, INFINITY),
        "",
        experiments.accuracy_kept,
    ),
    Claim(
        "better-at-equal-share",
        "At an equal pruned share the network trained with noise is the more accurate one.",
        "?",
        "",
        "test accuracy with noise at its best minus without, mean over shares 0.1 to 0.9",
        (0.0, INFINITY),
        "",
        experiments.accuracy_at_equal_share,
        ACCURACY_MARGIN,
    ),
)


#: Against rivals and twins, held against every table that has all arms.
_RIVALS: tuple[Claim, ...] = (
    Claim(
        "ratio-is-that-of-the-twin",
        "A trained network has the pruning ratio of its own start and kicks, which have seen no data (by one point).",
        "D",
        "",
        "pruning ratio of the trained network minus that of its start plus its kicks, noise at its strongest",
        (-RATIO_MARGIN, RATIO_MARGIN),
        "",
        untrained.beyond_twins,
    ),
    Claim(
        "gaussian-compresses-less",
        "It is the heavy tail: Gaussian noise with kicks of the same median size leaves the network less compressible.",
        "D",
        "",
        "pruning ratio at α = 1.75 minus at α = 2",
        (0.0, INFINITY),
        "",
        rivals.against_gaussian_kick,
        RATIO_MARGIN,
    ),
    Claim(
        "gaussian-compresses-less-in-total",
        "So does Gaussian noise that moves a neuron as far over all steps, in the median.",
        "D",
        "",
        "pruning ratio at α = 1.75 minus at α = 2",
        (0.0, INFINITY),
        "",
        rivals.against_gaussian_total,
        RATIO_MARGIN,
    ),
    Claim(
        "lasso-compresses-less",
        "A group lasso compresses less than noise.",
        "D",
        "",
        "pruning ratio with noise minus with a group lasso, each at its strongest setting",
        (0.0, INFINITY),
        "",
        rivals.ratio_against_lasso,
        RATIO_MARGIN,
    ),
    Claim(
        "noise-better-than-decay",
        "At an equal pruned share the network trained with noise is more accurate than one trained with weight decay.",
        "D",
        "",
        "test accuracy with noise at its best minus with weight decay, mean over shares 0.1 to 0.9",
        (0.0, INFINITY),
        "",
        rivals.accuracy_against_decay,
        ACCURACY_MARGIN,
    ),
    Claim(
        "noise-better-than-lasso",
        "At an equal pruned share the network trained with noise is more accurate than one trained with a group lasso.",
        "D",
        "",
        "test accuracy with noise at its best minus with a group lasso, mean over shares 0.1 to 0.9",
        (0.0, INFINITY),
        "",
        rivals.accuracy_against_lasso,
        ACCURACY_MARGIN,
    ),
    Claim(
        "pruned-better-than-small",
        "The pruned network is more accurate than one of the size left, trained from scratch without noise.",
        "D",
        "",
        "test accuracy pruned minus that of the small network, mean over the sizes in the table, noise at its best",
        (0.0, INFINITY),
        "",
        rivals.against_small,
        ACCURACY_MARGIN,
    ),
    Claim(
        "norm-order-matters",
        "The small columns are those to prune: at an equal share a network pruned at random is the less accurate one.",
        "D",
        "",
        "test accuracy pruned by norm minus at random, mean over shares 0.1 to 0.9, noise at its strongest",
        (0.0, INFINITY),
        "",
        controls.against_random_pruning,
        ACCURACY_MARGIN,
    ),
    Claim(
        "noise-keeps-robustness",
        "Noise costs no robustness: as many test samples survive an attack by projected gradients (our threshold: two "
        "points).",
        "D",
        "",
        "test accuracy under attack with noise at its strongest minus without, mean over three sizes of attack",
        (-0.02, INFINITY),
        "",
        rivals.robustness,
    ),
)


#: What is asked of tables without rivals beside the claims of the paper: of deeper networks, of another split.
_OF_TWINS = tuple(claim for claim in _RIVALS if claim.id == "ratio-is-that-of-the-twin")
_OF_A_SPLIT = (*_OF_TWINS, *(claim for claim in _RIVALS if claim.id == "noise-keeps-robustness"))


def _among(claims: tuple[Claim, ...], table: str, title: str, chapter: str) -> tuple[Claim, ...]:
    """These claims, held against one table."""
    return tuple(
        replace(c, id=f"{c.id}-{table}", statement=f"{c.statement} On {title}.", chapter=chapter, table=table)
        for c in claims
    )


#: What "of use for model deployment" comes to: a smaller file, or a faster one, at an equal accuracy. The summary has
#: the first of these words, the others are ours.
_DEPLOYED: tuple[Claim, ...] = (
    Claim(
        "smaller-than-plain-pruned",
        "Of use for deployment: at one point of lost accuracy heavy-tailed noise leaves a smaller file than plain SGD, "
        "both pruned.",
        "S",
        "shipping",
        "bytes of the smallest file with noise at its best over those with plain SGD",
        (-INFINITY, 1.0),
        "",
        shipping.against_pruned,
        shipping.MARGIN,
    ),
    Claim(
        "smaller-than-plain-tuned",
        "Of use for deployment: so it does where both are tuned after pruning.",
        "S",
        "shipping",
        "bytes of the smallest file with noise at its best over those with plain SGD, both tuned",
        (-INFINITY, 1.0),
        "",
        shipping.against_tuned,
        shipping.MARGIN,
    ),
    Claim(
        "smaller-than-small",
        "A network trained with heavy-tailed noise, pruned and tuned, is a smaller file than a small network from "
        "scratch, at one point of lost accuracy.",
        "D",
        "shipping",
        "bytes of the smallest file with noise at its best, tuned, over those of a small network trained as long",
        (-INFINITY, 1.0),
        "",
        shipping.against_small,
        shipping.MARGIN,
    ),
    Claim(
        "faster-than-whole",
        "It is faster in ONNX Runtime than the whole network.",
        "D",
        "shipping",
        "time for a batch of the smallest file with noise at its best, tuned, over that of the whole network",
        (-INFINITY, 1.0),
        "",
        shipping.faster_than_whole,
        shipping.MARGIN,
        "shipping-2-cores",
    ),
    Claim(
        "faster-than-small",
        "It is faster in ONNX Runtime than a small network from scratch.",
        "D",
        "shipping",
        "time for a batch of the smallest file with noise at its best, tuned, over that of the smallest from scratch",
        (-INFINITY, 1.0),
        "",
        shipping.faster_than_small,
        shipping.MARGIN,
        "shipping-2-cores",
    ),
)


def _of_deployment(table: str, title: str) -> tuple[Claim, ...]:
    return _among(_DEPLOYED, table, title, "shipping")


#: What "of use for federated learning" comes to: a more accurate model for the same bytes. The summary has the first of
#: these words, the others are ours.
_FEDERATED: tuple[Claim, ...] = (
    Claim(
        "within-cap-better-than-none",
        "Of use for federated learning: where a client may send as much in all as one whole model, heavy-tailed kicks "
        "leave a more accurate global model than none, where both send columns alone.",
        "S",
        "",
        "test accuracy at the cap with heavy-tailed kicks minus without, each at its best setting",
        (0.0, INFINITY),
        "",
        federated.against_none,
        ACCURACY_MARGIN,
    ),
    Claim(
        "within-cap-better-than-gaussian",
        "It is the heavy tail: for the same upload the global model is more accurate than with Gaussian kicks.",
        "D",
        "",
        "test accuracy at the cap with heavy-tailed kicks minus with Gaussian ones, each at its best setting",
        (0.0, INFINITY),
        "",
        federated.against_gaussian,
        ACCURACY_MARGIN,
    ),
    Claim(
        "within-cap-better-than-small",
        "For the same upload a model with heavy-tailed kicks is more accurate than a small network that is sent whole.",
        "D",
        "",
        "test accuracy at the cap with heavy-tailed kicks minus that of a small network, each at its best setting",
        (0.0, INFINITY),
        "",
        federated.against_small,
        ACCURACY_MARGIN,
    ),
    Claim(
        "within-cap-better-than-top",
        "For the same upload a model with heavy-tailed kicks is more accurate than one without, for which clients send "
        "the largest numbers of each move.",
        "D",
        "",
        "test accuracy at the cap with heavy-tailed kicks minus with the largest numbers, each at its best setting",
        (0.0, INFINITY),
        "",
        federated.against_top,
        ACCURACY_MARGIN,
    ),
)


def _of_federation(table: str, title: str) -> tuple[Claim, ...]:
    return _among(_FEDERATED, table, title, "federated")


EXPERIMENTS: tuple[Claim, ...] = (
    *(replace(claim, chapter="ecg5000", table="ecg5000") for claim in _PAPER),
    Claim(
        "shared-noise-unseen",
        "Type-I noise on ECG5000 does not move the training loss (by more than one part in a thousand).",
        "D",
        "ecg5000",
        "relative change of the train loss",
        (-1e-3, 1e-3),
        "ecg5000",
        experiments.relative_loss,
    ),
    Claim(
        "shared-noise-compresses",
        "Type-I noise on ECG5000 raises the pruning ratio all the same.",
        "M",
        "ecg5000",
        "pruning ratio with noise minus without",
        (0.0, INFINITY),
        "ecg5000",
        experiments.shared_compressibility,
        RATIO_MARGIN,
    ),
    Claim(
        "small-error-can-collapse",
        "A pruning error of 0.1 does not secure accuracy: some runs collapse, because one column holds the norm (our "
        "threshold: one noisy run in twenty). On the digits.",
        "M",
        "story",
        "share of noisy runs that lose over ten points of train accuracy",
        (0.05, INFINITY),
        "digits",
        experiments.collapses,
    ),
    Claim(
        "small-error-can-collapse-ecg5000",
        "The same on ECG5000, where our prototype saw one such run in five at σ = 0.2.",
        "M",
        "ecg5000",
        "share of noisy runs that lose over ten points of train accuracy",
        (0.05, INFINITY),
        "ecg5000",
        experiments.collapses,
    ),
    *_among(_RIVALS, "ecg5000", "ECG5000", "ecg5000"),
    *_among((*_PAPER, *_OF_A_SPLIT), "ecg5000-random", "ECG5000 split at random", "ecg5000"),
    *_among((*_PAPER, *_OF_TWINS), "ecg5000-stopped", "ECG5000, each run stopped at 99% train accuracy", "ecg5000"),
    *_among((*_PAPER, *_RIVALS), "mnist", "MNIST", "mnist"),
    *_among((*_PAPER, *_OF_TWINS), "mnist-stopped", "MNIST, each run stopped at 95% train accuracy", "mnist"),
    *_among((*_PAPER, *_RIVALS), "cifar10", "CIFAR-10", "cifar"),
    *_among((*_PAPER, *_RIVALS), "cifar100", "CIFAR-100", "cifar"),
    *_among((*_PAPER, *_OF_TWINS), "deeper", "MNIST with two to four hidden layers", "deeper"),
    Claim(
        "error-grows-with-depth",
        "Pruning each layer at squared error 0.1 costs the more test accuracy the more layers there are.",
        "D",
        "deeper",
        "test accuracy lost by pruning, at the largest depth minus at the smallest",
        (0.0, INFINITY),
        "deeper",
        depths.growth_of_loss,
        ACCURACY_MARGIN,
    ),
    *_among((*_PAPER, *_OF_TWINS), "vgg", "CIFAR-10 with a small VGG", "vgg"),
    Claim(
        "gaussian-compresses-less-at-equal-accuracy",
        "It is the heavy tail: Gaussian noise that costs as much train accuracy leaves the network less compressible.",
        "D",
        "heavy_tail",
        "pruning ratio at α = 1.75 minus at α = 2",
        (0.0, INFINITY),
        "controls",
        controls.against_matched_accuracy,
        RATIO_MARGIN,
    ),
    Claim(
        "decay-compresses-less",
        "Weight decay that moves the median norm as far compresses less than noise.",
        "D",
        "heavy_tail",
        "pruning ratio with noise minus with weight decay",
        (0.0, INFINITY),
        "controls",
        controls.against_decay,
        RATIO_MARGIN,
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
        "pruning ratio with unseen noise minus without noise",
        (0.0, INFINITY),
        "controls",
        controls.unseen_compressibility,
        RATIO_MARGIN,
    ),
    Claim(
        "wider-compresses-more",
        "With heavy-tailed noise a wider network is the more compressible one.",
        "D",
        "width",
        "pruning ratio at the largest width minus at the smallest",
        (0.0, INFINITY),
        "width",
        widths.compressibility,
        RATIO_MARGIN,
    ),
    Claim(
        "wider-better-at-equal-share",
        "With heavy-tailed noise width adds more test accuracy at an equal pruned share than without noise.",
        "?",
        "width",
        "test accuracy at the largest width minus at the smallest, mean over shares 0.1 to 0.9, noise minus no noise",
        (0.0, INFINITY),
        "width",
        widths.accuracy_at_equal_share,
        ACCURACY_MARGIN,
    ),
    *_among(_OF_TWINS, "width", "ECG5000, width by width", "width"),
    *_of_deployment("ship-ecg5000", "ECG5000"),
    *_of_deployment("ship-mnist", "MNIST"),
    *_of_deployment("ship-cifar10", "CIFAR-10, a residual network"),
    *_of_federation("federated-ecg5000", "ECG5000"),
    *_of_federation("federated-mnist", "MNIST"),
    Claim(
        "common-kicks-keep-more",
        "The global model is more compressible with common kicks than with local ones of a hundred clients.",
        "D",
        "federated",
        "pruning ratio with common kicks minus with local ones of the most clients, after all rounds",
        (0.0, INFINITY),
        "federated-clients",
        federated.common_keeps_more,
        RATIO_MARGIN,
    ),
    Claim(
        "trained-follows-averaging-law",
        "The pruning ratio of a global model trained with local kicks is what the law says of its start and kicks of "
        "scale σ K^(1/α-1), to five points.",
        "D",
        "federated",
        "pruning ratio after all rounds minus the law's median",
        (-0.05, 0.05),
        "federated-clients",
        federated.ratio_less_predicted,
    ),
)
