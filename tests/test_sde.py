"""The drift is the gradient, paths refine and have their law, and the Euler scheme is the written equation.

Each check that can fail by chance does so with probability at most 1e-6 (goodness_of_fit); there are about 40. Seeds
are fixed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache

import pytest
import torch
from goodness_of_fit import GAUSS_LIMIT, follows_symmetric
from torch import Tensor, nn
from torch.nn import functional

from heavytail import noise as noises
from heavytail import sde
from heavytail.networks import MeanField
from heavytail.sde import LevyPath, Particles, Problem

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.needs_cuda),
]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "relu": torch.relu,
    "lambda": lambda z: torch.sin(z) + z,
}
INDICES = (1.2, 1.75)


def generator(seed: int, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed)


def problem(
    loss: str = "squared", samples: int = 6, inputs: int = 4, outputs: int = 3, seed: int = 1, **more: object
) -> Problem:
    stream = generator(seed)
    x = torch.randn(samples, inputs, generator=stream, dtype=torch.float64)
    y = torch.randn(samples, outputs, generator=stream, dtype=torch.float64)
    if loss == "logistic":
        y = y.sign()
    if loss == "cross_entropy":
        y = functional.one_hot(y.argmax(1), outputs).double()
    return Problem(x, y, loss, **more)


def particles(*shape: int, outputs: int = 3, seed: int = 2) -> Particles:
    return sde.initial(shape, outputs, generator=generator(seed), dtype=torch.float64)


def same(one: Particles, other: Particles) -> bool:
    return torch.equal(one.weights, other.weights) and torch.equal(one.outputs, other.outputs)


def ends(states: Iterable[Particles]) -> Particles:
    *_, last = states
    return last


def path(
    kind: str = "isotropic",
    alpha: float | Tensor = 1.5,
    shape: tuple[int, ...] = (5, 4),
    *,
    horizon: float = 1.0,
    steps: int = 8,
    seed: int = 3,
) -> LevyPath:
    stream = generator(seed)
    return sde.levy_path(alpha, kind, shape, horizon=horizon, steps=steps, generator=stream, dtype=torch.float64)


# ---- the drift


def gradients(task: Problem, state: Particles) -> Particles:
    """∇R by automatic differentiation of the written formula, with torch's own losses."""
    weights, outputs = (t.clone().requires_grad_() for t in (state.weights, state.outputs))
    f = task.activation(torch.einsum("...nd,md->...mn", weights, task.x)) @ outputs
    f = f if task.summed else f / weights.shape[-2]
    y = task.y.expand_as(f)
    if task.loss == "squared":
        total = 0.5 * (f - y).square().sum()
    elif task.loss == "logistic":
        total = torch.log1p(torch.exp(-y * f)).sum()
    else:
        total = -(y * f.log_softmax(-1)).sum()
    return Particles(*torch.autograd.grad(total / len(task.x), (weights, outputs)))


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", sde.LOSSES)
def test_the_drift_is_minus_n_times_the_gradient(loss: str, activation: str, trained: bool, summed: bool) -> None:
    task = problem(loss, activation=ACTIVATIONS[activation], trained=trained, summed=summed)
    for batch in ((), (2,), (2, 3)):
        state = particles(*batch, 5, 4)
        found, wanted = sde.drift(task, state), gradients(task, state)
        n = 1 if summed else 5
        torch.testing.assert_close(found.weights, -n * wanted.weights, rtol=1e-12, atol=1e-13)
        outputs = -n * wanted.outputs if trained else torch.zeros_like(state.outputs)
        torch.testing.assert_close(found.outputs, outputs, rtol=1e-12, atol=1e-13)
        for wrong in (n, -5 / n, -n / len(task.x)):  # a sign, the n, a sum over samples for their mean
            assert (found.weights - wrong * wanted.weights).abs().max() > 1e-3


@pytest.mark.parametrize("loss", sde.LOSSES)
def test_the_risk_is_the_mean_loss_over_samples(loss: str) -> None:
    task, state = problem(loss), particles(2, 5, 4)
    f = torch.stack([torch.tanh(task.x @ w.T) @ c / 5 for w, c in zip(state.weights, state.outputs, strict=True)])
    torch.testing.assert_close(sde.output(task, state), f, rtol=1e-12, atol=1e-14)
    if loss == "squared":
        each = [0.5 * (g - task.y).square().sum() / 6 for g in f]
    elif loss == "logistic":
        each = [functional.binary_cross_entropy_with_logits(g, (task.y + 1) / 2, reduction="sum") / 6 for g in f]
    else:
        each = [functional.cross_entropy(g, task.y.argmax(1)) for g in f]
    torch.testing.assert_close(sde.risk(task, state), torch.stack(each), rtol=1e-12, atol=0)


def mean_field(width: int = 7) -> tuple[MeanField, Particles]:
    """The package's network in float64, and its neurons as particles."""
    model = MeanField(4, width, 3, generator=generator(5)).double()
    return model, Particles(model.hidden.weight.detach().clone(), model.signs.T)


def model_risk(model: nn.Module, task: Problem) -> Tensor:
    if task.loss == "cross_entropy":
        return functional.cross_entropy(model(task.x), task.y.argmax(1))
    return 0.5 * (model(task.x) - task.y).square().sum(1).mean()


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_the_drift_is_that_of_the_packages_network(loss: str) -> None:
    task = problem(loss)
    model, state = mean_field()
    model_risk(model, task).backward()
    assert sde.risk(task, state) == pytest.approx(model_risk(model, task).item(), rel=1e-12)
    wanted = -model.gradient_scale * model.hidden.weight.grad
    torch.testing.assert_close(sde.drift(task, state).weights, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_without_noise_the_scheme_is_gradient_descent_on_the_packages_network(loss: str) -> None:
    task, eta = problem(loss), 0.1
    model, state = mean_field()
    optimizer = torch.optim.SGD(model.parameters(), lr=eta * model.gradient_scale)
    still = path(shape=(7, 4), horizon=20 * eta, steps=20)
    for now in sde.euler(task, state, still, sigma=0.0):
        torch.testing.assert_close(now.weights, model.hidden.weight.detach(), rtol=1e-11, atol=1e-12)
        optimizer.zero_grad()
        model_risk(model, task).backward()
        optimizer.step()
    assert (now.weights - state.weights).abs().max() > 0.1


# ---- Lévy paths


def test_coarse_increments_are_sums_of_fine_ones() -> None:
    fine = LevyPath(torch.arange(24.0).reshape(12, 2, 1), 0.25)
    coarse = fine.coarsen(3)
    assert coarse.step == 0.75
    for k in range(4):
        assert torch.equal(coarse.increments[k], fine.increments[3 * k : 3 * k + 3].sum(0))
    assert torch.equal(fine.coarsen(1).increments, fine.increments)
    assert torch.equal(coarse.coarsen(2).increments, fine.coarsen(6).increments)
    assert fine.coarsen(12).increments.shape == (1, 2, 1)


@pytest.mark.parametrize("kind", noises.NOISES)
def test_a_path_and_its_coarsening_end_at_one_place(kind: str) -> None:
    fine = path(kind, 1.2, (3, 5, 4), steps=12)
    for factor in (2, 3, 4, 6, 12):
        end = fine.coarsen(factor).increments.sum(0)
        torch.testing.assert_close(end, fine.increments.sum(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factor", [0, -1, 5, 24])
def test_a_path_is_seen_only_at_times_that_it_has(factor: int) -> None:
    with pytest.raises(ValueError, match=rf"^a path of 12 steps cannot be seen at every {factor}th time: name a div"):
        path(steps=12).coarsen(factor)


@cache
def long_path(kind: str, alpha: float, device: str = "cpu") -> LevyPath:
    """12 steps of 1/4 each for many particles of two entries."""
    size = (50_000, 2)
    return sde.levy_path(alpha, kind, size, horizon=3.0, steps=12, generator=generator(6, device))


def unit(kind: str, seen: LevyPath, exponent: float) -> tuple[Tensor, Tensor]:
    """First entries at scale 1 if `exponent` is 1/alpha, and the projection on the diagonal at the same scale."""
    entries = seen.increments.expand(-1, -1, 2) / seen.step**exponent
    return entries[..., 0], entries.sum(-1) / math.sqrt(2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("alpha", INDICES)
@pytest.mark.parametrize("kind", noises.NOISES)
@pytest.mark.long
def test_increments_have_the_stable_law_at_every_step_size(kind: str, alpha: float, device: str) -> None:
    fine = long_path(kind, alpha, device)
    # Seen at every second time 3e5 increments are left; the limit of the gap is 0.005.
    for seen in (fine, fine.coarsen(2)):
        first, diagonal = unit(kind, seen, 1 / alpha)
        assert follows_symmetric(first, alpha)
        # How entries hang together: the diagonal has scale √2 if they are equal, 1 if the law is isotropic.
        scales = {"shared": math.sqrt(2), "entrywise": 2 ** (1 / alpha - 0.5), "isotropic": 1.0}
        for other, scale in scales.items():
            assert follows_symmetric(diagonal / scale, alpha) == (other == kind)


@pytest.mark.parametrize("alpha", INDICES)
@pytest.mark.parametrize("kind", noises.NOISES)
@pytest.mark.long
def test_the_law_of_increments_rejects_a_wrong_index_scale_or_exponent(kind: str, alpha: float) -> None:
    seen = long_path(kind, alpha).coarsen(2)
    first, _ = unit(kind, seen, 1 / alpha)
    for wrong in (alpha - 0.1, alpha + 0.1):
        assert not follows_symmetric(first, wrong)
    for factor in (0.95, 1.05):
        assert not follows_symmetric(first * factor, alpha)
    for exponent in (0.5, 1.0):  # Brownian, and no scaling of the noise with the step beyond the drift's
        assert not follows_symmetric(unit(kind, seen, exponent)[0], alpha)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", noises.NOISES)
@pytest.mark.long
def test_each_row_of_a_batch_of_indices_has_its_own_law(kind: str, device: str) -> None:
    alphas = torch.tensor([[1.2], [1.6], [2.0]], device=device)
    drawn = sde.levy_path(alphas, kind, (3, 20_000, 2), horizon=2.0, steps=8, generator=generator(7, device))
    for row, alpha in enumerate((1.2, 1.6, 2.0)):
        first = drawn.increments[:, row, :, 0] / 0.25 ** (1 / alpha)
        for other in (1.2, 1.6, 2.0):
            assert follows_symmetric(first, other) == (other == alpha)


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_generator_state_gives_the_same_path_and_start(device: str) -> None:
    def draw(seed: int) -> tuple[Tensor, Particles]:
        stream = generator(seed, device)
        drawn = sde.levy_path(1.5, "isotropic", (3, 4), horizon=1.0, steps=5, generator=stream)
        return drawn.increments, sde.initial((3, 4), 2, generator=stream)

    increments, start = draw(8)
    again, start_again = draw(8)
    other, start_other = draw(9)
    assert torch.equal(increments, again)
    assert same(start, start_again)
    assert not torch.equal(increments, other)
    assert not torch.equal(start.weights, start_other.weights)
    assert increments.device.type == start.weights.device.type == start.outputs.device.type == device
    assert increments.dtype == start.weights.dtype == torch.float32


def test_a_path_has_one_axis_of_steps_before_its_shape() -> None:
    assert path("isotropic", shape=(2, 3, 4), steps=5).increments.shape == (5, 2, 3, 4)
    assert path("entrywise", shape=(2, 3, 4), steps=5).increments.shape == (5, 2, 3, 4)
    assert path("shared", shape=(2, 3, 4), steps=5).increments.shape == (5, 2, 3, 1)
    assert path(horizon=2.0, steps=5).step == pytest.approx(0.4)


def test_particles_start_normal_with_fair_signs() -> None:
    start = sde.initial((40_000, 5), 2, generator=generator(10), spread=3.0, dtype=torch.float64)
    assert start.outputs.shape == (40_000, 2)
    assert bool((start.outputs.abs() == 1).all())
    assert abs(float(start.outputs.mean())) < GAUSS_LIMIT / math.sqrt(80_000)
    assert abs(float((start.outputs[:, 0] * start.outputs[:, 1]).mean())) < GAUSS_LIMIT / math.sqrt(40_000)
    assert follows_symmetric(start.weights * math.sqrt(2) / 3, 2.0)
    assert not follows_symmetric(start.weights * math.sqrt(2) / 3 * 1.05, 2.0)


# ---- the scheme


def test_one_step_is_the_written_equation() -> None:
    # One neuron, one sample, φ(z) = z²: f = c θ², ∂ℓ/∂f = f - y, b = -(f - y) c 2 θ x x.
    task = Problem(torch.tensor([[2.0]]), torch.tensor([[1.0]]), activation=torch.square, trained=True)
    state = Particles(torch.tensor([[0.5]]), torch.tensor([[3.0]]))
    after = sde.step(task, state, 0.1, torch.tensor([[-4.0]]), 0.25)
    # z = 1, φ = 1, φ' = 2, f = 3, slope 2: b_θ = -2 * 3 * 2 * 2 = -24, b_c = -2 * 1.
    assert after.weights.item() == pytest.approx(0.5 + 0.1 * -24 + 0.25 * -4)
    assert after.outputs.item() == pytest.approx(3 + 0.1 * -2)
    fixed = sde.step(replace(task, trained=False), state, 0.1, torch.tensor([[-4.0]]), 0.25)
    assert torch.equal(fixed.outputs, state.outputs)
    assert torch.equal(fixed.weights, after.weights)


def test_the_drift_is_taken_at_the_given_output() -> None:
    task, state = problem(), particles(5, 4)
    at_target = sde.drift(task, state, task.y)
    assert not at_target.weights.any()
    torch.testing.assert_close(
        sde.drift(task, state, sde.output(task, state)).weights, sde.drift(task, state).weights, rtol=0, atol=0
    )


@pytest.mark.parametrize("loss", sde.LOSSES)
def test_networks_of_a_batch_may_see_samples_of_their_own(loss: str) -> None:
    """Each is then the network that sees its own alone."""
    alone = [problem(loss, seed=seed) for seed in (1, 2)]
    together = Problem(*(torch.stack([getattr(one, name) for one in alone]) for name in ("x", "y")), loss)
    start = particles(2, 5, 4)
    measures = (
        sde.output,
        sde.risk,
        lambda *of: sde.drift(*of).weights,
        lambda *of: sde.step(*of, 0.1, 1.0, 0.0).weights,
    )
    for measure in measures:
        each = [measure(one, Particles(start.weights[r], start.outputs[r])) for r, one in enumerate(alone)]
        torch.testing.assert_close(measure(together, start), torch.stack(each), rtol=1e-12, atol=1e-14)


def test_the_scheme_yields_the_start_and_one_state_a_step() -> None:
    task, state, walk = problem(), particles(5, 4), path(steps=6)
    states = list(sde.euler(task, state, walk, sigma=0.3))
    assert len(states) == 7
    assert states[0] is state
    for k in range(6):
        assert same(states[k + 1], sde.step(task, states[k], walk.step, walk.increments[k], 0.3))


def test_sigma_may_differ_in_a_batch() -> None:
    task, state, walk = problem(), particles(5, 4), path(steps=6)
    sigma = torch.tensor([0.0, 0.1, 1.0]).reshape(3, 1, 1)
    together = ends(sde.euler(task, state, walk, sigma=sigma)).weights
    for row, one in zip(together, (0.0, 0.1, 1.0), strict=True):
        alone = ends(sde.euler(task, state, walk, sigma=one)).weights
        torch.testing.assert_close(row, alone, rtol=1e-6, atol=1e-6)  # 0.1 is a float32 in the tensor


def test_shared_noise_moves_all_entries_of_a_particle_alike() -> None:
    task, state = problem(), particles(5, 4)
    walk = path("shared", steps=1)
    kicked, still = (ends(sde.euler(task, state, walk, sigma=sigma)).weights for sigma in (2.0, 0.0))
    torch.testing.assert_close(kicked - still, 2 * walk.increments[0].expand(5, 4), rtol=1e-9, atol=1e-12)


def test_particles_of_the_limit_do_not_see_each_other_and_those_of_the_system_do() -> None:
    task, state, walk = problem(), particles(5, 4), path()
    flow = sde.limit_flow(task, particles(50, 4, seed=11), path(shape=(50, 4), seed=12), sigma=0.3)
    moved = state.weights.clone()
    moved[2] += 5
    other = Particles(moved, state.outputs)
    rest = [0, 1, 3, 4]
    for given, alone in ((flow, True), (None, False)):
        one, two = (ends(sde.euler(task, s, walk, sigma=0.3, flow=given)).weights[rest] for s in (state, other))
        assert torch.equal(one, two) == alone


@pytest.mark.parametrize("trained", [False, True])
def test_a_flow_computed_from_the_particles_reproduces_them(trained: bool) -> None:
    task, state, walk = problem(trained=trained), particles(3, 5, 4), path(shape=(3, 5, 4))
    flow = sde.limit_flow(task, state, walk, sigma=0.3)
    assert flow.shape == (9, 3, 6, 3)
    system, limit = sde.euler(task, state, walk, sigma=0.3), sde.euler(task, state, walk, sigma=0.3, flow=flow)
    assert all(same(one, other) for one, other in zip(system, limit, strict=True))


def test_the_first_particles_are_a_view() -> None:
    state = particles(2, 5, 4)
    few = state.first(3)
    assert torch.equal(few.weights, state.weights[:, :3])
    assert torch.equal(few.outputs, state.outputs[:, :3])
    assert few.weights.data_ptr() == state.weights.data_ptr()


@pytest.mark.parametrize("device", DEVICES)
def test_a_problem_moves_and_runs_in_float32(device: str) -> None:
    task = problem("logistic").to(device, torch.float32)
    assert task.loss == "logistic"
    start = sde.initial((5, 4), 3, generator=generator(13, device))
    walk = sde.levy_path(1.5, "shared", (5, 4), horizon=1.0, steps=4, generator=generator(14, device))
    end = ends(sde.euler(task, start, walk, sigma=0.1)).weights
    assert end.device.type == device
    assert end.dtype == torch.float32
    exact = Particles(start.weights.cpu().double(), start.outputs.cpu().double())
    double = LevyPath(walk.increments.cpu().double(), walk.step)
    wanted = ends(sde.euler(problem("logistic"), exact, double, sigma=0.1)).weights
    torch.testing.assert_close(end.cpu().double(), wanted, rtol=1e-4, atol=1e-5)


# ---- a problem with an exact solution


def exact_linear(task: Problem, state: Particles, time: float) -> Tensor:
    """With φ(z) = z and signs c, `w = mean c θ` obeys dw/dt = -(S w - g), and θ moves by c times what w moves by."""
    second, first = task.x.T @ task.x / len(task.x), task.x.T @ task.y[:, 0] / len(task.x)
    w = (state.outputs * state.weights).mean(-2)
    best = torch.linalg.solve(second, first)
    then = best + torch.linalg.matrix_exp(-second * time) @ (w - best)
    return state.weights + state.outputs * (then - w)


def test_the_scheme_tends_to_the_exact_solution_with_order_one() -> None:
    task, state = problem(outputs=1, activation=lambda z: z), particles(5, 4, outputs=1)
    errors, exact = [], exact_linear(task, state, 2.0)
    for steps in (200, 400, 800):
        still = LevyPath(torch.zeros(steps, 1, 1, dtype=torch.float64), 2.0 / steps)
        errors.append(float((ends(sde.euler(task, state, still, sigma=0.0)).weights - exact).norm()))
    assert errors[-1] < 2e-3 * float((exact - state.weights).norm())
    for coarse, fine in itertools.pairwise(errors):
        assert 1.95 < coarse / fine < 2.05


# ---- propagation of chaos, in small


def tiny_task() -> Problem:
    return problem(samples=5, inputs=2, outputs=1).to("cpu", torch.float32)


def distances(one: Iterable[Particles], other: Iterable[Particles]) -> Tensor:
    """Of each repeat: the mean over particles of the largest distance in time."""
    gaps = [(a.weights - b.weights).norm(dim=-1) for a, b in zip(one, other, strict=True)]
    return torch.stack(gaps).amax(0).mean(-1).double()


def tiny(shape: tuple[int, ...], seed: int) -> tuple[Particles, LevyPath]:
    stream = generator(seed)
    start = sde.initial(shape, generator=stream)
    return start, sde.levy_path(1.5, "isotropic", shape, horizon=1.0, steps=10, generator=stream)


def reference_flow(task: Problem) -> Tensor:
    return sde.limit_flow(task, *tiny((200_000, 2), 15), sigma=0.5)


@pytest.mark.long
def test_the_distance_to_the_limit_falls_as_the_root_of_the_width() -> None:
    # Distances are bounded, since the noise cancels in them: a mean over repeats is normal. Widths 16 and 256 differ
    # by a factor 4 in the distance; 5% is left for terms of a higher order in 1/n. At the rate n^(-1/3), that of an
    # unbounded φ at this alpha, the factor were 2.5.
    task = tiny_task()
    flow = reference_flow(task)
    found = []
    for width, repeats in ((16, 4000), (256, 1000)):
        start, walk = tiny((repeats, width, 2), 16 + width)
        limit = sde.euler(task, start, walk, sigma=0.5, flow=flow)
        found.append(distances(sde.euler(task, start, walk, sigma=0.5), limit))
    ratio = float(found[0].mean() / found[1].mean())
    error = ratio * math.sqrt(sum(float(v.var() / v.mean() ** 2) / len(v) for v in found))
    assert abs(ratio - 4) < 0.2 + GAUSS_LIMIT * error
    assert ratio - 16 ** (1 / 3) > GAUSS_LIMIT * error
    assert 16 ** (2 / 3) - ratio > GAUSS_LIMIT * error


@pytest.mark.parametrize("share", [2, 4])
@pytest.mark.long
def test_a_subset_of_a_system_is_nearer_to_it_by_the_share_that_is_missing(share: int) -> None:
    # The mean over n of N particles differs from that over all N by sqrt(1 - n/N) of what it differs from the limit;
    # 2% is left for terms of a higher order. Both distances are of the same particles, so the errors are paired.
    task, width, repeats = tiny_task(), 64, 1500
    whole, long = tiny((repeats, share * width, 2), 18)
    few, short = whole.first(width), LevyPath(long.increments[..., :width, :], long.step)
    limit = sde.euler(task, few, short, sigma=0.5, flow=reference_flow(task))
    to_limit = distances(sde.euler(task, few, short, sigma=0.5), limit)
    system = (state.first(width) for state in sde.euler(task, whole, long, sigma=0.5))
    to_whole = distances(sde.euler(task, few, short, sigma=0.5), system)
    ratio = float(to_whole.mean() / to_limit.mean())
    error = ratio * float((to_whole / to_whole.mean() - to_limit / to_limit.mean()).std()) / math.sqrt(repeats)
    assert abs(ratio - math.sqrt(1 - 1 / share)) < 0.02 + GAUSS_LIMIT * error
    assert 1 - ratio > 0.02 + GAUSS_LIMIT * error


# ---- bad input


X, Y = torch.ones(3, 2), torch.ones(3, 1)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Problem(X, Y, "hinge"), "^unknown loss 'hinge': choose one of squared, logistic, cross_entropy$"),
        (
            lambda: Problem(X, Y[:2]),
            r"^inputs are \(samples, inputs\) and targets \(samples, outputs\), got shapes \(3, 2\) and \(2, 1\)$",
        ),
        (lambda: Problem(X, Y[:, 0]), r"got shapes \(3, 2\) and \(3,\)$"),
        (lambda: Problem(X[0], Y), r"got shapes \(2,\) and \(3, 1\)$"),
        (lambda: Problem(X[0], Y[:, 0]), r"got shapes \(2,\) and \(3,\)$"),
        (lambda: Problem(X, Y[None]), r"got shapes \(3, 2\) and \(1, 3, 1\)$"),
        (lambda: Problem(X[None], Y), r"got shapes \(1, 3, 2\) and \(3, 1\)$"),
        (lambda: Problem(X, 0 * Y, "logistic"), r"^the logistic loss wants targets -1 and \+1$"),
        (lambda: Problem(X, X, "cross_entropy"), "^the cross-entropy loss wants one-hot targets: one 1 in each row"),
        (lambda: Problem(X, X / 2, "cross_entropy"), "^the cross-entropy loss wants one-hot targets"),
        (lambda: path("type1"), "^unknown noise 'type1': choose one of shared, entrywise, isotropic$"),
        (lambda: path(alpha=2.5), r"^the stability index alpha must lie in \(0, 2\], got 2.5$"),
        (lambda: path(alpha=math.nan), r"^the stability index alpha must lie in \(0, 2\], got nan$"),
        (lambda: path(alpha=torch.full((3, 1), 1.5)), r"^alpha of shape \(3, 1\) does not broadcast against draws"),
        (lambda: path(horizon=0.0), "^a path needs a finite horizon above 0 and at least one step, got 0 and 8$"),
        (
            lambda: path(horizon=math.nan),
            "^a path needs a finite horizon above 0 and at least one step, got nan and 8$",
        ),
        (lambda: path(horizon=math.inf), "^a path needs a finite horizon above 0"),
        (lambda: tiny((1, 4, 2), 1)[0].first(5), "^there are 4 particles, so not a first 5$"),
        (
            lambda: next(sde.euler(tiny_task(), *tiny((1, 4, 2), 1), sigma=1.0, flow=torch.zeros(1, 3, 1))),
            r"^a path of \d+ steps needs a flow at as many times, got 1$",
        ),
        (
            lambda: next(sde.euler(Problem(X, X), Particles(X, Y), path(), sigma=1.0)),
            "^particles with 1 output weights do not fit 2 outputs of the targets$",
        ),
        (lambda: path(steps=0), "^a path needs a finite horizon above 0 and at least one step, got 1 and 0$"),
    ],
)
def test_bad_input_is_told_in_one_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_path_and_a_start_need_a_generator() -> None:
    with pytest.raises(TypeError, match="generator"):
        sde.levy_path(1.5, "shared", (3, 2), horizon=1.0, steps=2)
    with pytest.raises(TypeError, match="generator"):
        sde.initial((3, 2))


def test_records_with_tensors_are_told_apart_by_identity() -> None:
    weights, outputs = torch.ones(2, 3), torch.ones(2, 1)
    one, other = Particles(weights, outputs), Particles(weights, outputs)
    assert one == one
    assert one != other  # and no error of a truth value that a tensor does not have
    assert len({one, other}) == 2
    assert LevyPath(weights, 1.0) != LevyPath(weights, 1.0)
    assert Problem(torch.ones(2, 3), torch.ones(2, 1)) != Problem(torch.ones(2, 3), torch.ones(2, 1))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"horizon": None}, r"^a path needs a horizon and a whole number of steps, got None and 8$"),
        ({"steps": None}, r"^a path needs a horizon and a whole number of steps, got 1.0 and None$"),
        ({"steps": 1.5}, r"^a path needs a horizon and a whole number of steps, got 1.0 and 1.5$"),
        ({"steps": 10**400}, r"^a path needs a finite horizon above 0 and at least one step, got 1 and 1000"),
        ({"horizon": 10**400}, r"^a path needs a finite horizon above 0 and at least one step, got inf and 8$"),
        ({"shape": None}, r"^the shape of the particles is a sequence \(..., n, d\) of whole numbers, not None$"),
    ],
)
def test_a_path_of_no_numbers_says_what_it_needs(change, sentence):
    given = {"alpha": 1.5, "noise": "shared", "shape": (3, 2), "horizon": 1.0, "steps": 8, **change}
    with pytest.raises((TypeError, ValueError), match=sentence):
        sde.levy_path(**given, generator=torch.Generator())


@pytest.mark.parametrize("activation", [torch.tanh, torch.sigmoid])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_known_slopes_have_the_bits_of_automatic_differentiation(activation, dtype):
    pre = 3 * torch.randn(20, 33, dtype=dtype, generator=torch.Generator().manual_seed(0))
    for x in (pre, pre.T, pre[:1]):
        found, wanted = sde._with_slope(activation, x), torch.func.jvp(activation, (x,), (torch.ones_like(x),))
        assert all(map(torch.equal, found, wanted))
    assert sde._SLOPES.keys() == {torch.tanh, torch.sigmoid}
