"""What is left of kicks when many clients are averaged, as in federated learning: their scale, and what that decides.

A round: every client begins at the global model, takes E steps of size η with a kick `σ η^(1/α) ξ` after each, and the
server averages. As a kick is added to what is there already, the average of the sums is the sum of the averages: the
global model moves by the mean of the clients' gradient steps, taken wherever they have drifted to, and by the mean of
their kicks. Over T rounds those are together one draw of scale `σ (η E T)^(1/α)` times the factor of this module. [D]
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Literal, get_args

from heavytail.laws._checks import above, digits, exp, number, stability, whole
from heavytail.laws.columns import tail_constant
from heavytail.laws.pruning import LimitLaw
from heavytail.noise.kinds import Noise, as_float, check, shown

Design = Literal["local", "common", "server"]


def averaged_scale(alpha: float, clients: int, design: Design = "local") -> float:
    """The scale of the kicks of a global model, over that of one client's: for local kicks `K^(1/α - 1)`. [D]

    alpha    the stability index, in (0, 2]
    clients  K, those that are averaged in a round; where some of many take part, the number of those
    design   "local": every client draws kicks of its own. A mean of K independent draws has the characteristic function
             `exp(-K |u/K|^α)`, whatever the type of noise: the same law, smaller for α > 1, as it was at 1, and larger
             below; at α = 2 the familiar K^(-1/2). "common": all clients add the same kicks, by one key. "server": the
             server adds them to the average. These two keep them whole: 1

    The kicks of T rounds are together one draw of this times `σ (η E T)^(1/α)`, however far clients drift apart between
    averages, as long as who takes part does not depend on the kicks: hand it to `predicted_error` or `predicted_ratio`
    as scale. Raises ValueError for an alpha or clients out of range, or an unknown design.

    >>> [round(averaged_scale(alpha, 100), 2) for alpha in (0.8, 1.0, 1.5, 2.0)]
    [3.16, 1.0, 0.22, 0.1]
    >>> averaged_scale(1.5, 100, "common")
    1.0
    """
    stability(alpha, 0, 2)
    whole("clients", clients, "the clients that are averaged")
    if design not in get_args(Design):
        raise ValueError(f"unknown design {shown(design)}: choose one of {', '.join(get_args(Design))}")
    return exp((1 / alpha - 1) * math.log(clients)) if design == "local" else 1.0


def weighted_scale(alpha: float, weights: Iterable[float]) -> float:
    """The same of local kicks in a weighted average: `(Σ w_k^α)^(1/α)`, with weights that sum to 1. [D]

    `alpha` is the stability index, in (0, 2], `weights` one number a client, 0 or more, such as its number of samples:
    they are taken over their sum. Equal weights give `averaged_scale`; all weight on one client gives 1.
    Raises ValueError for an alpha out of range, or weights that are not finite, below 0, or all 0.

    >>> round(weighted_scale(1.5, [100, 100, 100, 700]), 3), round(averaged_scale(1.5, 4), 3)
    (0.774, 0.63)
    """
    stability(alpha, 0, 2)
    return exp(_log_sum(alpha, weights) / alpha)


def effective_clients(alpha: float, weights: Iterable[float]) -> float:
    """How many clients of equal weight leave kicks of the same scale: `(Σ w_k^α)^(1/(1-α))`. [D]

    Arguments, and what is raised, are those of `weighted_scale`. Between 1 and the number of weights above 0. At α = 2
    it is `1 / Σ w²`, the usual effective size of a weighted sample; at α = 1, where the scale does not depend on the
    weights, the limit, e to the power of their entropy.

    >>> [round(effective_clients(alpha, [100, 100, 100, 700]), 2) for alpha in (1.0, 1.5, 2.0)]
    [2.56, 2.16, 1.92]
    """
    stability(alpha, 0, 2)
    if alpha == 1:
        return exp(-math.fsum(math.exp(log) * log for log in _log_shares(weights)))
    return exp(_log_sum(alpha, weights) / (1 - alpha))


def clients_at_balance(alpha: float, width: int, *, noise: Noise, inputs: int, spread: float, scale: float) -> float:
    """The number K of clients with local kicks at which the start outweighs the kicks of the global model. [D]

    With fewer the kicks hold more of the squared norm of a layer than the start does, in the median; with more the
    start does, and the layer is compressible as the start is. As n grows the kicks hold `τ² n^(2/α) c^(2/α) Z` with
    `τ = scale K^(1/α - 1)`, see `LimitLaw`, and the start holds n d s². They are equal at
    `K = (scale n^(1/α - 1/2) c^(1/α) √z / (s √d))^(α/(α-1))`, with z the median of Z; at α = 2, where the kicks hold
    2 n d τ², at `2 (scale / s)²`. Any real number above 0: below 1 the start outweighs the kicks of one client.

    Arguments are those of `predicted_error`, `alpha` in (1, 2] (up to 1 more clients do not make the kicks smaller),
    `scale` that of one client, `σ T^(1/α)`. Raises ValueError for one out of range, TypeError for an alpha, spread or
    scale that is no number.

    >>> layer = {"noise": "isotropic", "inputs": 140, "spread": 0.05, "scale": 0.1}
    >>> [round(clients_at_balance(alpha, 2000, **layer)) for alpha in (1.5, 1.75, 2.0)]
    [850, 35, 8]
    """
    stability(alpha, 1, 2)
    whole("width", width, "neurons")
    check(alpha, 0.0, noise)
    whole("inputs", inputs, "the entries of a noise vector")
    above("spread", spread)
    above("scale", scale)
    log = 2 * (math.log(scale) - math.log(spread))  # of the kicks' squares over the start's, at one client
    if alpha == 2:
        return exp(log + math.log(2))
    tail = LimitLaw(alpha, 1.0, tail_constant(alpha, noise, inputs))
    log += (2 / alpha - 1) * math.log(operator.index(width)) - math.log(tail.quantile(0.5)) - math.log(inputs)
    return exp(log * alpha / (alpha - 1) / 2)


def widening(alpha: float, clients: int) -> float:
    """How many times as wide a global model has its kicks weigh against the start as those of one client: [D]

    `K^(2(α-1)/(2-α))`, which leaves `n^(2/α) K^(2/α - 2)` over n as it was, for local kicks of `clients` = K. As
    `clients_at_balance`, it is a statement on wide layers. At α = 1 it is 1, below 1 less. To turn up σ by
    `1 / averaged_scale` does the same at once, and is exact. Raises ValueError for an alpha outside (0, 2), or clients
    that are no whole number above 0.

    >>> [round(widening(alpha, 10), 1) for alpha in (1.2, 1.5, 1.75)]
    [3.2, 100.0, 1000000.0]
    """
    stability(alpha, 0, 2, closed=False)
    whole("clients", clients, "the clients that are averaged")
    return exp(2 * (alpha - 1) / (2 - alpha) * math.log(clients))


def _log_sum(alpha: float, weights: Iterable[float]) -> float:
    """log Σ w^α of the shares."""
    return _log_of_sum([alpha * log for log in _log_shares(weights)])


def _log_shares(weights: Iterable[float]) -> list[float]:
    """Logarithms of the weights above 0, over the sum of all: a power of a share may be a float where it is none."""
    each = list(weights)
    for weight in each:
        number("a client's weight", weight)
        if not 0 <= as_float(weight) < math.inf:
            raise ValueError(f"a client's weight must be finite and >= 0, got {digits(weight)}")
    logs = [math.log(weight) for weight in each if weight]
    if not logs:
        raise ValueError("no client has a weight above 0, and of nobody there is no average")
    total = _log_of_sum(logs)
    return [log - total for log in logs]


def _log_of_sum(logs: list[float]) -> float:
    return max(logs) + math.log(math.fsum(math.exp(log - max(logs)) for log in logs))
