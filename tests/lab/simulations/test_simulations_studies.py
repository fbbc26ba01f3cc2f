"""What each study measures: held against the definitions, step by step, on the same random numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from heavytail import compress, laws, noise, sde, streams
from heavytail.evidence import slopes
from heavytail.lab import simulations
from heavytail.lab.simulations import (
    Ablation,
    Batches,
    Chaos,
    Discretisation,
    Fluctuations,
    Pruning,
    Surely,
    fluctuations,
    record,
)

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.needs_cuda),
]


def found(simulation, device="cpu"):
    """The numbers of a simulation, one array a quantity, or one a (quantity, level)."""
    frame = simulations.simulate([simulation], device=device)
    by = ["quantity", "level"] if simulation.study in ("discretisation", "batches") else "quantity"
    return {name: rows.sort_values("repeat")["value"].to_numpy() for name, rows in frame.groupby(by)}


def drawn(simulation, shape, part, device, *, horizon=1.0, steps, spread=1.0, dtype=torch.float32):
    """Start and path of one part, drawn from the simulation's streams."""
    weights, kicks = (simulation.generator(stream, part, device) for stream in ("weights", "noise"))
    start = sde.initial(shape, generator=weights, spread=spread, dtype=dtype)
    path = sde.levy_path(
        simulation.alpha, simulation.noise, shape, horizon=horizon, steps=steps, generator=kicks, dtype=dtype
    )
    return start, path


def walk(simulation, problem, start, path, flow=None):
    """Weights at all times, (steps + 1, ..., n, d), and the particles at the end."""
    every = list(sde.euler(problem, start, path, sigma=simulation.sigma, flow=flow))
    return torch.stack([particles.weights for particles in every]), every[-1]


def repeats_of(simulation, steps, device):
    """Of every repeat the part that it is drawn with, the part's leading axes, and where it lies on them."""
    for part, many in enumerate(simulation.parts(steps, device)):
        yield from ((part, many, row) for row in (range(*many) if many else [...]))


@pytest.fixture(params=["each alone", "some together"])
def parts(request, monkeypatch):
    """Repeats that are a part each, as on the CPU, or go together, as on a GPU."""
    if request.param == "some together":
        monkeypatch.setattr(record.Simulation, "parts", lambda self, *_: [(2,), (self.repeats - 2,)])


def exponents(simulated, x, *quantities):
    """The exponent of x in the typical value of each quantity; x is a column, or eta for 1 / level."""
    frame = simulations.simulate(simulated)
    frame = frame.assign(eta=1 / frame["level"]) if x == "eta" else frame
    return [slopes.exponent("", frame[frame["quantity"] == name], x, typical=True).value for name in quantities]


# chaos


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "fields",
    [{}, {"width": 5}, {"activation": "relu"}, {"trained": True}, {"sigma": 0.0}, {"noise": "shared", "inputs": 3}],
    ids=str,
)
def test_the_distance_is_the_mean_over_particles_of_the_largest_in_time(fields, device):
    simulation = Chaos(
        **{"alpha": 1.5, "width": 3, "repeats": 4, "reference": 50, "steps": 24, "horizon": 8.0, **fields}
    )
    problem = simulations.teacher(simulation.inputs, 0, activation=simulation.activation)
    problem = replace(problem, trained=simulation.trained).to(device, torch.float32)
    limit = replace(simulation, width=1, repeats=1)  # one limit for all widths
    times = {"horizon": 8.0, "steps": 24}
    flows = [
        sde.limit_flow(problem, *drawn(limit, (50, simulation.inputs), part, device, **times), sigma=simulation.sigma)
        for part in (0, 1)
    ]
    start, path = drawn(simulation, (4, simulation.width, simulation.inputs), 2, device, **times)
    ones, end = walk(simulation, problem, start, path)
    others, _ = walk(simulation, problem, start, path, flows[0])
    thirds, _ = walk(simulation, problem, start, path, flows[1])
    measured = found(simulation, device)
    distance = (ones - others).norm(dim=-1)
    assert measured["distance"] == pytest.approx(distance.amax(0).mean(-1).cpu().numpy(), rel=1e-5)
    gap = (others - thirds).norm(dim=-1).amax(0).mean()
    assert measured["reference_gap"] == pytest.approx([float(gap)], rel=1e-4)
    assert measured["output"] == pytest.approx(sde.output(problem, end)[:, 0, 0].cpu().numpy(), rel=1e-4, abs=1e-6)
    each = end.outputs[..., 0] * problem.activation((end.weights * problem.x[0]).sum(-1))
    assert measured["output_square"] == pytest.approx(each.square().mean(-1).cpu().numpy(), rel=1e-4)
    # The largest in time is not the last: a measure at the end alone would be another number.
    assert not np.allclose(measured["distance"], distance[-1].mean(-1).cpu().numpy(), rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_the_limit_of_a_summed_network_is_start_plus_noise(device):
    simulation = Chaos(alpha=1.5, width=6, repeats=4, steps=5, sigma=0.5, summed=True)
    problem = replace(simulations.teacher(2, 0), summed=True).to(device, torch.float32)
    start, path = drawn(simulation, (4, 6, 2), 2, device, steps=5)
    start = sde.Particles(start.weights, start.outputs / math.sqrt(6))
    ones, end = walk(simulation, problem, start, path)
    still = start.weights + 0.5 * torch.cat([torch.zeros_like(path.increments[:1]), path.increments.cumsum(0)])
    measured = found(simulation, device)
    expected = (ones - still).norm(dim=-1).amax(0).mean(-1)
    assert measured["distance"] == pytest.approx(expected.cpu().numpy(), rel=1e-4)
    assert measured["output"] == pytest.approx(sde.output(problem, end)[:, 0, 0].cpu().numpy(), rel=1e-4, abs=1e-6)
    assert measured["reference_gap"].tolist() == [0]


def test_the_distance_falls_as_t1_says_and_not_where_a_few_particles_stand_for_the_limit():
    # Over seeds 1 to 20 the exponent was -0.497 with a standard deviation of 0.027: the margin is seven of them.
    widths = (16, 64, 256)
    small = {"alpha": 1.5, "repeats": 60, "steps": 8}
    (good,) = exponents([Chaos(width=width, reference=16384, **small) for width in widths], "width", "distance")
    (poor,) = exponents([Chaos(width=width, reference=4, **small) for width in widths], "width", "distance")
    assert -0.7 < good < -0.3
    assert poor > -0.3


# fluctuations


def limit_of(simulation, many, part, device="cpu"):
    """The limit particles of some repeats in time, with the flow that they feel."""
    problem = simulations.teacher(simulation.inputs, 0).to(device, torch.float32)
    one = replace(simulation, width=1, repeats=1)
    steps = {"steps": simulation.steps, "horizon": simulation.horizon}
    flow = sde.limit_flow(
        problem, *drawn(one, (simulation.reference, simulation.inputs), 0, device, **steps), sigma=simulation.sigma
    )
    start, path = drawn(simulation, (many, simulation.limit, simulation.inputs), part, device, **steps)
    return problem, flow, list(sde.euler(problem, start, path, sigma=simulation.sigma, flow=flow)), path


@pytest.mark.parametrize("sigma", [1.0, 0.0])
def test_fluctuations_move_particles_as_a_small_change_of_the_output_does(sigma):
    """Against particles that are trained with the output changed by 10^-4 of the fluctuation, in float64."""
    simulation = Fluctuations(alpha=1.5, sigma=sigma, reference=500, steps=12, horizon=4.0, limit=30)
    problem, flow, walk, path = limit_of(simulation, 3, 9)
    problem, flow = problem.to("cpu", torch.float64), flow.double()
    path = sde.LevyPath(path.increments.double(), path.step)
    start = sde.Particles(walk[0].weights.double(), walk[0].outputs.double())
    walk = list(sde.euler(problem, start, path, sigma=sigma, flow=flow))
    free = torch.randn(13, 3, len(problem.x), generator=streams.generator(1, "noise"), dtype=torch.float64)
    farthest, end = fluctuations.linearised(problem, walk, flow, free, path)
    small = 1e-4
    particles, largest = start, torch.zeros(3, 30, dtype=torch.float64)
    for k, kick in enumerate(path.increments):
        added = sde.output(problem, particles) - sde.output(problem, walk[k])
        f = flow[k] + small * free[k].unsqueeze(-1) + added
        particles = sde.step(problem, particles, path.step, kick, sigma, f)
        largest = torch.maximum(largest, (particles.weights - walk[k + 1].weights).norm(dim=-1))
    assert (largest / small).numpy() == pytest.approx(farthest.numpy(), rel=1e-2)
    added = (sde.output(problem, particles) - sde.output(problem, walk[-1]))[..., 0] / small
    assert (free[-1] + added).numpy() == pytest.approx(end.numpy(), rel=1e-2, abs=1e-4)


def test_free_fluctuations_have_the_variance_of_the_outputs_of_their_own_particles(monkeypatch):
    """Every repeat has limit particles of its own. Of 4000 draws; 0.13 is six standard deviations."""
    monkeypatch.setattr(fluctuations, "HELD", 2**16)
    simulation = Fluctuations(alpha=1.5, width=8, repeats=4000, reference=300, steps=6, limit=40)
    many = 2**16 // (40 * 16)
    problem, _, walk, _ = limit_of(simulation, many, 2 + len(simulation.chunks(6)))
    outputs = walk[-1].outputs[..., 0] * problem.activation((walk[-1].weights * problem.x[0]).sum(-1))
    measured = found(simulation)
    assert measured["free_output"].var() == pytest.approx(float(outputs.var()), rel=0.13)
    scaled = measured["free_output"][:many] / outputs.std(dim=1).numpy()
    assert scaled.var() == pytest.approx(1, abs=0.8)
    assert abs(stats.skew(measured["free_output"])) < 0.25
    assert len(set(measured["limit_output"])) > 3990
    assert 0.5 < measured["limit_output"].var() / measured["free_output"].var() < 1


def test_systems_of_particles_have_the_distance_and_the_correlation_of_their_gaussian_limit():
    """800 systems of 256. Over six others the ratio of distances was 1.00 with a standard deviation of 0.027, the two
    ratios of variances 0.84 and 0.85, with 0.048 and 0.006: margins are six and more of them."""
    simulation = Fluctuations(alpha=1.5, width=256, repeats=800, reference=2**16, steps=8, horizon=2.0, limit=300)
    measured = found(simulation)
    ratio = 16 * measured["distance"].mean() / measured["limit_distance"].mean()
    assert ratio == pytest.approx(1, abs=0.2)
    seen = 256 * measured["output"].var() / (measured["output_square"].mean() - measured["output"].mean() ** 2)
    said = measured["limit_output"].var() / measured["free_output"].var()
    assert seen == pytest.approx(said, abs=0.3)
    assert 0.7 < said < 0.98


@pytest.mark.parametrize("broken", [{"trained": True}, {"summed": True}])
def test_fluctuations_are_those_of_the_theorys_network(broken):
    with pytest.raises(ValueError, match=r"^fluctuations are those of the theory's network: trained and summed must"):
        Fluctuations(alpha=1.5, **broken)


# discretisation


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["isotropic", "shared"])
def test_errors_are_those_of_their_definitions(kind, device):
    simulation = Discretisation(alpha=1.5, width=2, repeats=3, finest=64, sigma=0.7, noise=kind)
    problem = simulations.teacher(2, 0).to(device)
    start, path = drawn(simulation, (3, 2, 2), 0, device, steps=64, dtype=torch.float64)
    fine, _ = walk(simulation, problem, start, path)
    measured = found(simulation, device)
    kicks = 0.7 * path.increments.expand(64, 3, 2, 2)
    assert measured["jump", 64] == pytest.approx(kicks.norm(dim=-1).amax(0).mean(-1).cpu().numpy())
    assert sorted({level for _, level in measured}) == [4, 16, 64]
    for level in (4, 16):
        factor = 64 // level
        coarse, _ = walk(simulation, problem, start, path.coarsen(factor))
        expected = {name: np.zeros((3, 2)) for name in ("grid", "fixed", "supremum")}
        for r in range(3):
            for i in range(2):

                def gap(k, j, r=r, i=i, coarse=coarse):  # of the coarse scheme at grid point k, the fine one at step j
                    return float((coarse[k, r, i] - fine[j, r, i]).norm())

                expected["grid"][r, i] = max(gap(k, k * factor) for k in range(level + 1))
                expected["fixed"][r, i] = gap(level - 1, 64)
                steps = [gap(k, k * factor + j) for k in range(level) for j in range(factor + 1)]
                expected["supremum"][r, i] = max(steps)
        for name, errors in expected.items():
            assert measured[name, level] == pytest.approx(errors.mean(1), rel=1e-9), name
        assert measured["particles", level] == pytest.approx(expected["fixed"].max(1), rel=1e-9)


def test_the_supremum_is_at_least_the_error_at_a_fixed_time_and_that_of_all_particles_at_least_that_of_one():
    measured = found(Discretisation(alpha=1.3, width=8, repeats=20, finest=256))
    for level in (4, 16, 64):
        assert (measured["supremum", level] >= measured["fixed", level]).all()
        assert (measured["particles", level] > measured["fixed", level]).all()
    alone = found(Discretisation(alpha=1.3, width=1, repeats=5, finest=64))
    assert (alone["particles", 16] == alone["fixed", 16]).all()


@pytest.mark.long
def test_without_noise_there_is_no_jump_and_every_error_falls_as_the_step():
    still = Discretisation(alpha=2, sigma=0.0, width=4, repeats=2, finest=1024)
    assert (found(still)["jump", 1024] == 0).all()
    assert exponents([still], "eta", "grid", "fixed", "supremum") == pytest.approx([1, 1, 1], abs=0.1)


def test_the_error_at_a_fixed_time_falls_as_the_step_to_one_over_alpha_and_on_grid_points_faster():
    # Over seeds 1 to 20 the exponents were 0.668, 1.031 and 0.064 with standard deviations of 0.025, 0.008 and 0.004.
    simulation = Discretisation(alpha=1.5, width=64, repeats=12, finest=256)
    fixed, grid, supremum = exponents([simulation], "eta", "fixed", "grid", "supremum")
    assert fixed == pytest.approx(1 / 1.5, abs=0.2)
    assert grid > 1 / 1.5 + 0.2
    assert supremum == pytest.approx(0, abs=0.2)


# pruning


def curve_at(columns, keep):
    """T3's error of each repeat, by the compressor that prunes real networks."""
    n = columns.shape[-2]
    return np.array([float(compress.error_curve(one)[n - round(keep * n)]) for one in columns])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.parametrize("keep", [0.1, 0.37])
def test_the_error_of_pure_noise_is_that_of_the_error_curve(kind, keep, device):
    simulation = Pruning(alpha=1.5, noise=kind, inputs=3, width=50, repeats=4, keep=keep, sigma=2.0)
    columns = noise.vectors(1.5, kind, (4, 50, 3), generator=simulation.generator("noise", 0, device)).expand(4, 50, 3)
    measured = found(simulation, device)
    assert set(measured) == {"error"}
    assert measured["error"] == pytest.approx(curve_at(columns, keep), rel=1e-5)
    assert not np.allclose(measured["error"], curve_at(columns, keep + 0.02), rtol=1e-3)  # one column more


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", noise.NOISES)
def test_a_trained_network_is_measured_whole_and_by_its_noise_alone(kind, device):
    simulation = Pruning(
        alpha=1.5, noise=kind, width=40, repeats=3, steps=5, keep=0.2, sigma=0.5, horizon=2.0, spread=0.3
    )
    problem = simulations.teacher(2, 0).to(device, torch.float32)
    start, path = drawn(simulation, (3, 40, 2), 0, device, horizon=2.0, steps=5, spread=0.3)
    _, end = walk(simulation, problem, start, path)
    moved = 0.5 * path.increments.sum(0).expand(3, 40, 2)
    measured = found(simulation, device)
    assert measured["error"] == pytest.approx(curve_at(end.weights, 0.2), rel=1e-4)
    assert measured["noise_error"] == pytest.approx(curve_at(moved, 0.2), rel=1e-4)
    bulks = [laws.bulk_of(compress.norms(one), 0.2) for one in end.weights]
    assert measured["bulk"] == pytest.approx(bulks, rel=1e-4)
    squares = end.weights.double().square().sum(-1).mean(-1)
    rest = squares - moved.double().square().sum(-1).mean(-1)
    assert measured["rest"] == pytest.approx(rest.cpu().numpy(), rel=1e-4, abs=1e-4)
    # Of the mean square of all columns, the pruned ones hold the squared error's share.
    assert measured["error"] ** 2 * squares.cpu().numpy() == pytest.approx(measured["bulk"], rel=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "broken",
    [{}, {"activation": "relu"}, {"trained": True}, {"summed": True}, {"trained": True, "summed": True}],
    ids=str,
)
def test_broken_assumptions_are_those_of_the_network_that_is_trained(broken, device):
    simulation = Ablation(alpha=1.5, width=40, repeats=3, steps=5, keep=0.2, sigma=0.1, **broken)
    problem = simulations.teacher(2, 0, activation=simulation.activation)
    problem = replace(problem, trained=simulation.trained, summed=simulation.summed).to(device, torch.float32)
    first, path = drawn(simulation, (3, 40, 2), 0, device, steps=5)
    first = sde.Particles(first.weights, first.outputs / (math.sqrt(40) if simulation.summed else 1))
    _, end = walk(simulation, problem, first, path)
    measured = found(simulation, device)
    assert measured["error"] == pytest.approx(curve_at(end.weights, 0.2), rel=1e-5)
    moved = simulation.sigma * path.increments.sum(0)
    rest = end.weights.double().square().sum(-1).mean(-1) - moved.double().square().sum(-1).mean(-1)
    assert measured["rest"] == pytest.approx(rest.cpu().numpy(), rel=1e-4)


def test_of_columns_of_one_norm_as_many_go_as_must():
    # From 0, without noise, every particle moves alike up to its sign.
    measured = found(Pruning(alpha=2, sigma=0.0, spread=0.0, steps=4, width=10, keep=0.3, repeats=2))
    assert measured["error"] == pytest.approx([math.sqrt(0.7)] * 2)
    assert measured["bulk"] == pytest.approx(0.7 * measured["rest"])


def test_the_median_error_at_the_required_width_is_the_one_asked_for():
    # The count of errors at most 0.1 among 400 is binomial: 5.3 standard deviations are 53.
    width = round(laws.required_width(1.2, 0.1, 0.1))
    simulation = Pruning(alpha=1.2, noise="shared", inputs=1, width=width, repeats=400)
    assert abs((found(simulation)["error"] <= 0.1).sum() - 200) < 53
    assert abs((found(replace(simulation, width=width // 8))["error"] <= 0.1).sum() - 200) > 53


# batches


def seen(simulation, problem, part, many, row):
    """The samples that each step of one repeat sees, from the stream of its part."""
    generator = simulation.generator("batches", part, str(problem.x.device))
    while True:
        size = (*many, simulation.batch)
        some = torch.randint(len(problem.x), size, generator=generator, device=generator.device)[row]
        yield replace(problem, x=problem.x[some], y=problem.y[some]) if simulation.batch else problem


def at(start, path, row):
    """One repeat of what is drawn together."""
    alone = sde.Particles(start.weights[row], start.outputs[row])
    return alone, replace(path, increments=path.increments[:, row])


def gradients(problem, weights, outputs):
    """n times the gradient of the risk of every neuron, by torch."""
    weights = weights.detach().requires_grad_()
    sde.risk(problem, sde.Particles(weights, outputs)).backward()
    return len(weights) * weights.grad


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"batch": 0},
        {"batch": 3, "activation": "relu"},
        {"trained": True},
        {"activation": "erf"},
        {"noise": "shared"},
    ],
    ids=str,
)
def test_the_sure_bound_is_that_of_start_plus_noise_and_the_gradients_of_the_steps(fields, device):
    simulation = Surely(alpha=1.5, width=40, repeats=3, steps=5, keep=0.2, sigma=0.5, horizon=2.0, spread=0.3, **fields)
    problem = simulation.problem().to(device, torch.float64)
    measured = found(simulation, device)
    times = {"horizon": 2.0, "steps": 5, "spread": 0.3, "dtype": torch.float64}
    for repeat, (part, many, row) in enumerate(repeats_of(simulation, 5, device)):
        start, path = at(*drawn(simulation, (*many, 40, 2), part, device, **times), row)
        particles, alone, pulled = start, start.weights, torch.zeros(40, dtype=torch.float64, device=device)
        steps = seen(simulation, problem, part, many, row)
        for kick in path.increments:
            some = next(steps)
            pulled += 0.4 * gradients(some, particles.weights, particles.outputs).norm(dim=1)
            particles = sde.step(some, particles, 0.4, kick, 0.5)
            alone = alone + 0.5 * kick
        assert measured["error"][repeat] == pytest.approx(curve_at(particles.weights[None], 0.2)[0], rel=1e-9)
        assert measured["noise_error"][repeat] == pytest.approx(curve_at(alone[None], 0.2)[0], rel=1e-9)
        moved = float((particles.weights - alone).norm(dim=1).max())
        assert measured["moved"][repeat] == pytest.approx(moved, rel=1e-9)
        assert moved <= float(pulled.max()) * (1 + 1e-9) <= measured["drift"][repeat] * (1 + 2e-9)
        bound = laws.compressibility_bound(alone, measured["drift"][repeat], 0.2)
        assert measured["bound"][repeat] == pytest.approx(bound, rel=1e-9)


def test_the_drift_is_what_a_single_step_on_a_single_sample_does_from_zero():
    """There the slope of tanh is its steepest and the output 0: nothing is generous."""
    simulation = Surely(alpha=1.5, width=10, repeats=20, steps=1, keep=0.2, spread=0.0)
    measured = found(simulation)
    assert measured["moved"] == pytest.approx(measured["drift"], rel=1e-9)
    assert len(set(measured["drift"])) > 5


def test_weights_that_are_held_below_a_norm_are_beyond_the_bound(monkeypatch):
    """Such a force is no bounded gradient: it pulls a giant as far as the giant went."""

    def held(problem, particles, eta, kick, sigma, f=None):
        moved = step(problem, particles, eta, kick, sigma, f)
        size = moved.weights.norm(dim=-1, keepdim=True)
        return sde.Particles(moved.weights * (2.0 / size).clamp(max=1.0), moved.outputs)

    step = sde.step
    simulation = Surely(alpha=0.7, width=512, repeats=5, steps=16)
    measured = found(simulation)
    assert (measured["error"] <= measured["bound"]).all()
    monkeypatch.setattr(sde, "step", held)
    measured = found(simulation)
    assert (measured["error"] > 2 * measured["bound"]).all()


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_schemes_with_batches_are_held_against_the_fine_one_that_sees_all(batch, device):
    simulation = Batches(alpha=1.5, width=7, repeats=3, finest=64, batch=batch)
    problem = simulations.teacher(2, 0).to(device)
    measured = found(simulation, device)
    for repeat, (part, many, row) in enumerate(repeats_of(simulation, 64, device)):
        start, path = at(*drawn(simulation, (*many, 7, 2), part, device, steps=64, dtype=torch.float64), row)
        fine, _ = walk(simulation, problem, start, path)
        steps = seen(simulation, problem, part, many, row)
        for level in (4, 16):
            factor, particles, far = 64 // level, start, []
            for k in range(level):
                kick = path.increments[k * factor : (k + 1) * factor].sum(0)
                particles = sde.step(next(steps), particles, 1 / level, kick, 1.0)
                far.append((particles.weights - fine[(k + 1) * factor]).norm(dim=-1))
            assert measured["grid", level][repeat] == pytest.approx(float(torch.stack(far).amax(0).mean()), rel=1e-9)
            assert measured["end", level][repeat] == pytest.approx(float(far[-1].mean()), rel=1e-9)


@pytest.mark.long
def test_batches_cost_half_an_order_and_all_samples_have_order_one():
    """Of 60 repeats, with fixed seeds; with others four standard deviations are 0.15 and 0.02."""
    some = exponents([Batches(alpha=1.5, width=16, repeats=60, finest=256)], "eta", "end")
    every = exponents([Batches(alpha=1.5, width=16, repeats=60, finest=256, batch=0)], "eta", "end")
    assert some == pytest.approx([0.5], abs=0.15)
    assert every == pytest.approx([1.0], abs=0.15)


# chunks


def test_repeats_of_later_chunks_are_drawn_from_the_next_parts(monkeypatch):
    monkeypatch.setattr(record, "CHUNK", 100)
    simulation = Pruning(alpha=1.5, noise="shared", inputs=1, width=50, repeats=5)
    draws = [
        noise.vectors(1.5, "shared", (count, 50, 1), generator=simulation.generator("noise", part, "cpu"))
        for part, count in enumerate([2, 2, 1])
    ]
    assert found(simulation)["error"] == pytest.approx(curve_at(torch.cat(draws), 0.1), rel=1e-5)


def test_on_the_cpu_a_repeat_is_a_part_and_elsewhere_a_chunk_is(monkeypatch):
    monkeypatch.setattr(record, "CHUNK", 160)
    simulation = Surely(alpha=1.5, width=20, repeats=5, steps=4)
    assert simulation.parts(4, "cpu") == [(), (), (), (), ()]
    assert simulation.parts(4, "cuda:0") == [(2,), (2,), (1,)]


@pytest.mark.parametrize(
    ("simulation", "chunk"),
    [
        (Chaos(alpha=1.5, width=5, repeats=5, reference=20, steps=4), 40),
        (Discretisation(alpha=1.5, width=5, repeats=5, finest=16), 160),
        (Pruning(alpha=1.5, width=20, repeats=5, steps=4), 160),
        (Ablation(alpha=1.5, width=20, repeats=5, steps=4, activation="relu"), 160),
    ],
    ids=lambda value: getattr(value, "study", ""),
)
def test_every_chunk_has_numbers_of_its_own(simulation, chunk, monkeypatch):
    monkeypatch.setattr(record, "CHUNK", chunk)
    for name, numbers in found(simulation).items():
        if name != "reference_gap":
            assert len(set(numbers)) == 5, name
