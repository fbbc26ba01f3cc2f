"""Width: gains paired by seed, and the limit law inverted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up_results import diverged, measured, table

from heavytail import Run, compress, laws, networks, noise, streams
from heavytail.evidence import experiments, widths
from heavytail.lab import training

# Far apart, so that what is not paired by seed has a wide interval.
NARROW = {1: 0.10, 2: 0.30, 3: 0.80, 4: 0.15, 5: 0.50, 6: 0.65}
GAIN = {1: 0.01, 2: 0.04, 3: 0.02, 4: 0.05, 5: 0.03, 6: 0.08}
NOISY = Run(noise="shared", alpha=1.5, sigma=0.3)


def run(seed, width, base=NOISY):
    return replace(base, width=width, seed=seed)


def runs(base=NOISY, gains=GAIN, of=(100, 500, 1000)):
    """The gain is reached at the largest width; in the middle the ratio is another."""
    share = {of[0]: 0.0, of[-1]: 1.0}
    return [
        (run(seed, n, base), measured(pruning_ratio=NARROW[seed] + share.get(n, 9.0) * gains[seed]))
        for n in of
        for seed in gains
    ]


def interval(gains):
    """The ends of the interval of six or seven seeds: all of them."""
    return pytest.approx((min(gains.values()), max(gains.values())))


@pytest.mark.parametrize("turn", [1, -1])
def test_the_gain_is_the_largest_width_less_the_smallest_of_the_same_seed(turn):
    frame = table(runs()[::turn])
    frame.index = [0] * len(frame)  # a table put together from others may have any index
    (cell,) = widths.compressibility(frame)
    assert cell.label == "shared, α = 1.5, σ = 0.3, width 1000 less 100"
    assert cell.value == pytest.approx(0.035)
    assert (cell.low, cell.high) == interval(GAIN)
    assert (cell.runs, cell.failed) == (6, 0)


def test_plain_sgd_is_shown_first_and_is_no_cell_of_the_claim():
    gains = {**GAIN, 2: 0.1}
    frame = table([*runs(), *runs(Run(), gains)])
    shown = widths.widest_less_narrowest(frame, lambda rows: rows["pruning_ratio"])
    assert [cell.label.split(",")[0] for cell in shown] == ["plain SGD", "shared"]
    assert shown[0].value == pytest.approx(0.04)
    assert [cell.points for cell in shown[1:]] == [cell.points for cell in widths.compressibility(frame)]
    assert shown[0].points == pytest.approx(sorted(gains.values()))


def test_failed_runs_are_counted_and_a_lost_seed_is_no_gain():
    rows = runs(gains={1: 0.01, 2: 0.04})
    (cell,) = widths.compressibility(table([*rows, (run(3, 100), diverged()), (run(3, 1000), measured())]))
    assert (cell.runs, cell.failed) == (2, 1)
    assert cell.points == pytest.approx([0.01, 0.04])
    (alone,) = widths.compressibility(table(runs(gains={1: 0.01})))
    assert (alone.low, alone.high) == (-math.inf, math.inf)


def test_a_table_of_one_width_or_a_setting_at_one_end_has_no_cell():
    assert widths.compressibility(table(runs(of=(100,)))) == []
    light = replace(NOISY, alpha=1.75)
    (cell,) = widths.compressibility(table([*runs(), *runs(light, of=(100, 500))]))
    assert "α = 1.5" in cell.label


def test_accuracy_at_equal_share_is_a_mean_over_the_middle_shares():
    ends = {"test_accuracy_share_0.0": 0.0, "test_accuracy_share_1.0": 0.0}
    accuracy = {100: 0.7, 1000: 0.9}
    rows = [
        (run(seed, n), measured(share_accuracy=level + GAIN[seed] * (n > 100), **ends))
        for n, level in accuracy.items()
        for seed in GAIN
    ]
    plain = [(run(seed, n, Run()), measured(share_accuracy=0.1 * n / 900, **ends)) for n in accuracy for seed in GAIN]
    (cell,) = widths.accuracy_at_equal_share(table([*rows, *plain]))
    assert (cell.low, cell.high) == interval({seed: 0.1 + gain for seed, gain in GAIN.items()})
    (cell,) = widths.accuracy_at_equal_share(table([*rows, *plain[1:]]))  # one seed has no plain run
    assert (cell.runs, cell.failed, cell.low) == (5, 1, -math.inf)
    frame = table(rows)
    frame["test_accuracy_share_0.5"] += 0.09
    assert experiments.mean_accuracy(frame).tolist() == pytest.approx(
        [m + 0.01 for m in experiments.mean_accuracy(table(rows))]
    )


def test_a_wide_network_pruned_is_held_against_one_trained_with_as_few_neurons():
    after = {100: 0.5, 1000: 0.6, 2000: 0.7, 3000: 0.9}
    rows = [
        (run(seed, n), measured(test_accuracy=0.8 + n / 10**5, **{"test_accuracy_share_0.9": accuracy + GAIN[seed]}))
        for n, accuracy in after.items()
        for seed in GAIN
    ]
    (cell,) = widths.pruned_against_narrow(table(rows))
    assert cell.label.endswith("width 1000 less 100")  # a tenth of 2000, or of 3000, was not trained
    assert (cell.low, cell.high) == interval({seed: 0.6 + gain - 0.801 for seed, gain in GAIN.items()})
    assert widths.pruned_against_narrow(table(rows), share=0.3) == []
    lost = [(record, diverged() if record.width == 1000 else numbers) for record, numbers in rows]
    (cell,) = widths.pruned_against_narrow(table(lost))  # ECG5000 has two classes
    assert (cell.value, cell.runs, cell.diverged) == (pytest.approx(0.5 - 0.801), 6, 6)
    assert widths.pruned_against_narrow(table(rows), share=0.0) == []


def test_every_step_size_of_plain_sgd_is_shown_and_noise_is_held_against_that_of_its_own():
    """At the step size of the noise plain SGD gains 0.05, at the other 0.4."""
    rows = []
    for seed in GAIN:
        for n, level in ((100, 0.3), (1000, 0.5)):
            rows.append(
                (run(seed, n, replace(NOISY, lr=0.01)), measured(share_accuracy=level + GAIN[seed] * (n > 100)))
            )
            for lr, gain in ((0.01, 0.05), (0.03, 0.4)):
                rows.append((run(seed, n, Run(lr=lr)), measured(share_accuracy=0.5 + gain * (n > 100))))
    frame = table(rows)
    (cell,) = widths.accuracy_at_equal_share(frame)
    assert cell.label == "shared, α = 1.5, σ = 0.3, η = 0.01, width 1000 less 100"
    assert (cell.low, cell.high) == interval({seed: 0.15 + gain for seed, gain in GAIN.items()})
    shown = widths.widest_less_narrowest(frame, experiments.mean_accuracy)
    assert [(cell.label, round(cell.value, 6)) for cell in shown[:2]] == [
        ("plain SGD, η = 0.01, width 1000 less 100", 0.05),
        ("plain SGD, η = 0.03, width 1000 less 100", 0.4),
    ]
    assert len(shown) == 3
    frame = frame[~(frame["noise"].isna() & (frame["lr"] == 0.01))]
    (cell,) = widths.accuracy_at_equal_share(frame)
    assert cell.failed == cell.seeds == len(GAIN)  # plain SGD of another step size is no partner


@pytest.mark.parametrize("kind", noise.NOISES)
def test_networks_of_two_widths_of_a_seed_share_a_start_and_no_kicks(kind):
    starts, kicks = [], []
    for n in (20, 90):
        net = networks.build("fcn", (7,), 2, width=n, depth=1, generator=streams.generator(4, "weights"))
        starts += [weight.detach() for weight in networks.hidden_weights(net).values()]
        weight, key = torch.zeros(n, 7), training.noise_key(Run(seed=4, noise=kind, alpha=1.5, sigma=1.0, width=n))
        noise.add(weight, 1.5, kind, 1.0, key=key, step=3)
        kicks.append(weight)
    assert torch.equal(starts[0], starts[1][:20])
    assert not (kicks[0] == kicks[1][:20]).any()


@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.75])
@pytest.mark.long
def test_the_share_of_the_limit_law_is_the_one_whose_required_width_it_is(alpha):
    shares = [widths.limit_share(alpha, n) for n in (100, 1000, 10000)]
    assert shares == sorted(set(shares))
    for n, share in zip((100, 1000, 10000), shares, strict=True):
        assert laws.required_width(alpha, 1 - share, math.sqrt(0.1)) == pytest.approx(n, rel=1e-3)


@pytest.mark.parametrize("probability", [0.5, 0.9])
@pytest.mark.long
def test_as_many_noise_matrices_prune_further_than_the_limit_law_says(probability):
    """Of 400 matrices; 0.125 is five standard deviations or more, a false alarm in 10^6. 0.02 is the law's error."""
    columns = noise.draw(1.3, "shared", (400 * 2000, 1), generator=streams.generator(5, "noise"))
    shares = np.array([compress.prunable_share(part) for part in columns.reshape(400, 2000, 1)])
    share, wrong = (widths.limit_share(alpha, 2000, probability=probability) for alpha in (1.3, 1.6))
    assert (shares > share - 0.02).mean() > probability - 0.125
    assert (shares > share + 0.02).mean() < min(probability + 0.125, 0.9)
    assert (shares > wrong + 0.02).mean() > min(probability + 0.125, 0.99)


@pytest.mark.parametrize(("alpha", "width"), [(1.5, 1.0), (1.5, 0.0), (1.1, 1e300)])
def test_a_width_that_no_share_answers_to_is_refused(alpha, width):
    with pytest.raises(ValueError, match=rf"^at no share kept is {width:g} the required width".replace("+", r"\+")):
        widths.limit_share(alpha, width)
