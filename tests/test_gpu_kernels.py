"""The kernels of a GPU give what the compiled loops give: on a GPU where there is one, else by Triton's interpreter."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

triton = pytest.importorskip("triton", reason="needs triton, which there is for Linux")
import triton.language as tl  # noqa: E402
from gpu_kicks import DEVICE, KEYS, kicks_of, launch, symmetric  # noqa: E402

from heavytail import _sampler, noise  # noqa: E402
from heavytail._sampler import gpu, kernels, law, philox  # noqa: E402
from heavytail._sampler.philox import CHUNK  # noqa: E402
from heavytail.noise import Kick, draws  # noqa: E402

pytestmark = pytest.mark.gpu
# log |X| = L + (1 - α)/α M: two logarithms in float32, which may each be off by so many roundings of log |X|.
ROUNDINGS = 4.0
PROGRAM = 4096  # ciphers of a program at most: a compiler for a GPU takes minutes for many more


def off(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference of the logarithms of two sizes, in roundings of float32."""
    assert (np.sign(got) == np.sign(wanted)).all()
    one, other = (np.log(np.abs(values.astype(np.float64))) for values in (got, wanted))
    return float((np.abs(one - other) / np.maximum(1, np.abs(other))).max() * 2**23)


def allowed(alpha: float) -> float:
    return ROUNDINGS * (1 + abs(1 - alpha) / alpha)


def words(start: int, key: int, step: int, lane: int, last: int, count: int = 512) -> np.ndarray:
    out = torch.zeros(4, count, dtype=torch.int32, device=DEVICE)
    at = [torch.tensor([number], device=DEVICE) for number in (start, int(np.uint64(key).astype(np.int64)), step)]
    block = min(count, PROGRAM)
    _words_kernel[(count // block,)](out, *at, lane, last, count, B=block)
    return out.cpu().numpy().view(np.uint32)


@triton.jit(do_not_specialize=["lane"])  # a lane of 1 would be no tensor
def _words_kernel(out, start, key, step, lane, last, count, B: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.program_id(0) * B + tl.arange(0, B)
    a, b, c, d = gpu._words(tl.load(start) + place, tl.load(key), tl.load(step), lane, last)
    tl.store(out + place, a)
    tl.store(out + count + place, b)
    tl.store(out + 2 * count + place, c)
    tl.store(out + 3 * count + place, d)


@pytest.mark.parametrize("key", KEYS, ids=hex)
@pytest.mark.parametrize("start", [0, 512, 2**32 - 512, 2**32, 2**40 - 512])
@pytest.mark.parametrize(("step", "lane"), [(0, 0), (2**31, 1), (2**32 - 1, 2**24 - 1)])
def test_words_are_those_of_the_cpu_bit_for_bit(start: int, key: int, step: int, lane: int) -> None:
    wanted = np.empty((2, CHUNK), np.uint32)
    philox.words(start // 512, lane, np.uint64(key), step, *wanted)
    a, b, c, d = words(start, key, step, lane, 0)
    assert np.array_equal(np.concatenate([a, c]), wanted[0])
    assert np.array_equal(np.concatenate([b, d]), wanted[1])
    more = words(start, key, step, lane, 1, 16)[:2].astype(np.float64)
    fractions = [philox.finer(start // CHUNK, lane, np.uint64(key), step, start % CHUNK + j) for j in range(16)]
    assert np.array_equal((more.T + 0.5) * 2.0**-32, np.array(fractions))


def test_a_million_words_are_those_of_the_cpu_bit_for_bit() -> None:
    count = 2**18
    wanted = np.empty((2, 2 * count), np.uint32)
    for chunk in range(count // 512):
        span = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        philox.words(chunk, 3, np.uint64(KEYS[2]), 7, wanted[0, span], wanted[1, span])
    got = words(0, KEYS[2], 7, 3, 0, count).reshape(4, -1, 512)
    assert np.array_equal(np.concatenate([got[0], got[2]], 1).ravel(), wanted[0])
    assert np.array_equal(np.concatenate([got[1], got[3]], 1).ravel(), wanted[1])


@pytest.mark.parametrize(
    ("alpha", "count"), [(alpha, 12_345) for alpha in (0.1, 0.3, 0.5, 0.8, 1.0, 1.3, 1.99, 2.0)] + [(1.75, 150_001)]
)
def test_symmetric_draws_are_those_of_the_cpu_to_the_last_digits(alpha: float, count: int) -> None:
    for row, key, step in zip(symmetric(alpha, count), KEYS[-2:], (3, 2**32 - 1), strict=True):
        wanted = _sampler.symmetric(alpha, count, key=key, step=step, lane=5)
        assert off(row.numpy(), wanted) <= allowed(alpha)


# Chunks of lane 0 at step 3 with a word that is a border: 0, 2^31 or 1024, the first word of a pair or the second.
BORDERS = [12892738, 1036120, 3612078, 4494265, 5307213, 1479769]


@cache
def far_out() -> list[int]:
    """Chunks of lane 0 at step 3 where bits are few, where a word is a border, and far out."""
    few, pair = [], np.empty((2, CHUNK), np.uint32)
    for chunk in range(10_000):
        philox.words(chunk, 0, np.uint64(KEYS[2]), 3, *pair)
        if ((pair & 0x7FFFFFFF) < 1024).any():
            few.append(chunk)
    assert len(few) >= 4  # ten expected
    for chunk in BORDERS:
        philox.words(chunk, 0, np.uint64(KEYS[2]), 3, *pair)
        assert np.isin(pair, [0, 2**31, 1024]).any()
    chunks = [*few, *BORDERS, 2**31 - 1, 2**31, 2**32 + 5]
    return chunks + list(range(32 - len(chunks)))


CHUNKS = PROGRAM // (CHUNK // 2)  # of a program


@triton.jit(do_not_specialize=["lane"])
def _chunk_kernel(out, chunks, laws, key, step, lane, SIGNED: tl.constexpr, B: tl.constexpr, N: tl.constexpr):  # type: ignore[no-untyped-def]
    place, key, step = tl.arange(0, N * B) % B, tl.load(key), tl.load(step)
    which = tl.program_id(0) * N + tl.arange(0, N * B) // B
    chunk, into = tl.load(chunks + which), out + which * (2 * B) + place
    a, b, c, d = gpu._words(chunk * B + place, key, step, lane, 0)
    first = chunk * (2 * B) + place
    tl.store(into, gpu._stable(a, b, first, key, step, lane, laws, SIGNED))
    tl.store(into + B, gpu._stable(c, d, first + B, key, step, lane, laws, SIGNED))


@pytest.mark.parametrize(
    "of", [law.symmetric(1.75), law.symmetric(0.6), law.root(0.875), law.positive(0.6)], ids=range(4)
)
def test_draws_far_out_in_a_lane_and_where_bits_are_few_are_those_of_the_cpu(of: law.Law) -> None:
    chunks, key = far_out(), np.uint64(KEYS[2])
    wanted = np.empty((len(chunks), CHUNK), np.float32)
    for into, chunk in zip(wanted, chunks, strict=True):
        kernels.stable(into, chunk * CHUNK, (chunk + 1) * CHUNK, np.float64(1), False, of, 0, key, 3)
    row = torch.tensor([of.power, of.exponent, 1.0, *of.near, *of.far], device=DEVICE)
    out, at = (
        torch.zeros(wanted.shape, device=DEVICE),
        [torch.tensor(n, device=DEVICE) for n in (chunks, KEYS[2:3], [3])],
    )
    _chunk_kernel[(len(chunks) // CHUNKS,)](out, at[0], row, *at[1:], 0, SIGNED=of.signed, B=CHUNK // 2, N=CHUNKS)
    assert off(out.cpu().numpy(), wanted) <= ROUNDINGS * (1 + abs(of.power))


@triton.jit(do_not_specialize=["lane"])
def _normals_kernel(out, start, key, step, lane, ones, B: tl.constexpr):  # type: ignore[no-untyped-def]
    chunk, place, key, step = tl.load(start), tl.arange(0, B), tl.load(key), tl.load(step)
    a, b, c, d = gpu._words(chunk * B + place, key, step, lane, 0)
    into, end = out - chunk * (4 * B), (chunk + 1) * (4 * B)
    gpu._two_normals(into, chunk, place, a, b, end, end, ones, key, step, lane)
    gpu._two_normals(into, chunk, place + B, c, d, end, end, ones, key, step, lane)


def test_normals_far_out_in_a_lane_and_where_bits_are_few_are_those_of_the_cpu() -> None:
    ones = torch.ones(1, device=DEVICE)
    for chunk in far_out():
        wanted, start = np.zeros(2 * CHUNK, np.float32), chunk * 2 * CHUNK
        kernels.normal(wanted, start, start + 2 * CHUNK, np.ones(1, np.float32), 2**62, 0, np.uint64(KEYS[2]), 3)
        out, at = torch.zeros(2 * CHUNK, device=DEVICE), [torch.tensor([n], device=DEVICE) for n in (chunk, KEYS[2], 3)]
        _normals_kernel[(1,)](out, *at, 0, ones, B=CHUNK // 2)
        assert off(out.cpu().numpy(), wanted) <= ROUNDINGS


@triton.jit
def _series_kernel(sine, small, large, B: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.arange(0, B)
    tl.store(sine + place, gpu._sin(tl.load(sine + place)))
    tl.store(small + place, gpu._log(tl.load(small + place)))
    tl.store(large + place, gpu._exp(tl.load(large + place)))


@pytest.mark.skipif("not gpu.INTERPRETED", reason="a GPU rounds a product and a sum at once")
def test_the_short_series_are_those_of_the_cpu_to_the_last_bit() -> None:
    def plain(loop: Callable) -> Callable:
        return getattr(loop, "py_func", loop)

    pi, right, root = (np.float32(number) for number in (math.pi, math.pi / 2, math.sqrt(2)))
    angles = np.append(np.linspace(0, pi, CHUNK - 1, dtype=np.float32), right)
    below = np.linspace(1.38, root, 64, dtype=np.float32)  # where the last term of the series is not lost in a rounding
    sizes = np.concatenate([np.exp(np.linspace(-60, 60, CHUNK - 65)).astype(np.float32), below, [np.float32(3**0.5)]])
    ties = (-35.003933, -29.458755, -25.99302)  # times 1 / log(2) they end in 1/2, and 2^k is not the same either way
    powers = np.array([*np.linspace(-90, 92, CHUNK - 5), -1e30, 1e30, *ties], np.float32)
    got = [torch.from_numpy(values.copy()).to(DEVICE) for values in (angles, sizes, powers)]
    _series_kernel[(1,)](*got, B=CHUNK)
    logarithms, exponentials = np.empty((2, CHUNK), np.float32)
    plain(kernels._log)(sizes, sizes.view(np.int32), logarithms)
    plain(kernels._exp)(powers, exponentials.view(np.int32), exponentials)
    sines = [plain(kernels._sin_of_acute)(pi - angle if angle > right else angle) for angle in angles]
    for values, wanted in zip(got, (sines, logarithms, exponentials), strict=True):
        assert values.tolist() == [float(value) for value in wanted]


@pytest.mark.parametrize(("draws", "chunk"), [(2, CHUNK), (4, 2 * CHUNK)])
def test_programs_make_whole_chunks_and_no_more_than_are_wanted(draws: int, chunk: int, monkeypatch) -> None:
    weights = torch.zeros(3, 1)
    whole = os.environ.get("TRITON_INTERPRET") == "1"  # an interpreter takes as long for few as for many
    assert gpu._grid(weights, 9 * chunk, draws) == (((1, 3), 8192) if whole else ((18, 3), 256))
    for interpreted, wanted in (
        (False, [((2, 3), 256), ((2, 3), 256), ((4, 3), 256), ((600, 3), 256)]),
        (True, [((1, 3), 512), ((1, 3), 512), ((1, 3), 1024), ((3, 3), 2**16)]),
    ):
        monkeypatch.setattr(gpu, "INTERPRETED", interpreted)
        assert [gpu._grid(weights, count, draws) for count in (1, chunk, chunk + 1, 300 * chunk)] == wanted


def test_programs_of_shared_kicks_have_a_part_of_each_of_their_units(monkeypatch) -> None:
    shapes = [(3, CHUNK, row) for row in (1, 16, 300, 5000)]
    for interpreted, wanted in (
        (False, [((2, 3), 256, 1), ((4, 3), 128, 16), ((96, 3), 16, 128), ((1280, 3), 16, 128)]),
        (True, [((1, 3), 512, 1), ((1, 3), 512, 16), ((1, 3), 512, 512), ((4, 3), 256, 4096)]),
    ):
        monkeypatch.setattr(gpu, "INTERPRETED", interpreted)
        assert [gpu._tiles(torch.empty(shape, device="meta")) for shape in shapes] == wanted


def test_kicks_that_are_ready_for_a_device_stay_as_they_are() -> None:
    kicks = kicks_of("entrywise", [1.5], [1.0], [3], [0])
    with pytest.raises(FrozenInstanceError):
        kicks.steps = kicks.keys  # type: ignore[misc]
    assert kicks == kicks
    assert kicks != replace(kicks)


RUNS = [  # alpha, size, key, step; the third gets no kick
    (2.0, 0.1, KEYS[2], 3),
    (1.5, 0.3, KEYS[2], 3),
    (1.1, 0.0, KEYS[1], 9),
    (0.8, 0.2, KEYS[4], 2**32 - 1),
]


def given(kind: noise.Noise, unit: noise.Unit = "filter", along: Tensor | None = None) -> dict[int, Kick]:
    all_of = {row: Kick(alpha, kind, unit, size, key, step, along) for row, (alpha, size, key, step) in enumerate(RUNS)}
    return {row: kick for row, kick in all_of.items() if kick.scale}


def close(got: Tensor, wanted: Tensor) -> bool:
    """Equal but for roundings: of a draw, of its product with a Gaussian, and of the weight that it is added to."""
    return bool(((got.cpu() - wanted).abs() <= 4e-6 * (1 + wanted.abs())).all())


@pytest.mark.parametrize(
    ("unit", "shape"),
    [
        *[("filter", shape) for shape in ((1, 1), (300, 37), (9, 2048), (5, 3, 3, 3))],
        *[("kernel", shape) for shape in ((3, 5), (5, 3, 3), (5, 3, 3, 3))],
    ],
)
@pytest.mark.parametrize("kind", noise.NOISES)
def test_runs_kicked_in_one_launch_get_what_each_gets_alone_on_the_cpu(kind, unit, shape) -> None:
    before = torch.randn(len(RUNS), *shape, generator=torch.Generator().manual_seed(1))
    wanted, got = before.clone(), before.clone().to(DEVICE)
    kicks = given(kind, unit)
    noise.kick_each(wanted, kicks, layer=2)
    launch(got, kicks, layer=2)
    assert close(got, wanted)
    assert torch.equal(got[2].cpu(), before[2])
    assert not torch.equal(got[0].cpu(), before[0])


@pytest.mark.parametrize("kind", noise.NOISES)
def test_a_run_without_a_kick_is_not_written_to(kind) -> None:
    weights = torch.full((4, 9, 6), -0.0, device=DEVICE)
    launch(weights, given(kind), layer=0)
    assert torch.signbit(weights[2]).all()  # 0 added to it would take the sign
    assert not torch.signbit(weights[[0, 1, 3]]).all(2).all()


def test_an_isotropic_kick_of_many_entries_is_that_of_the_cpu() -> None:
    wanted, got = torch.zeros(2, 40_000), torch.zeros(1, 2, 40_000, device=DEVICE)
    kick = Kick(1.75, "isotropic", "filter", 1.0, 5, 6)
    noise.kick(wanted, kick)
    launch(got, {0: kick}, layer=0)
    assert close(got[0], wanted)


def test_shared_kicks_go_along_a_direction_of_each_run() -> None:
    along = torch.linspace(-1, 2, 6)
    wanted, got = torch.zeros(4, 9, 6), torch.zeros(4, 9, 6, device=DEVICE)
    noise.kick_each(wanted, given("shared", along=along))
    launch(got, given("shared", along=along.to(DEVICE)), layer=0)
    assert close(got, wanted)


@pytest.mark.parametrize(("units", "row"), [(1, 1), (1030, 3), (40, 128), (1030, 300)])
def test_shared_kicks_are_added_where_they_are_drawn(units: int, row: int, monkeypatch) -> None:
    """In one launch, which leaves no numbers behind; at sizes of a power of two to the last bit."""
    monkeypatch.setattr(gpu, "INTERPRETED_WIDE", 128)
    kicks = kicks_of("shared", [1.5, 0.8], [1.0, 4.0], KEYS[2:4], [3, 2**31])
    before = torch.randn(2, units, row, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    along = (torch.arange(2 * row, device=DEVICE) % 5 - 2.0).exp2().view(2, row)
    shared = torch.zeros(2, units, device=DEVICE)
    gpu._stable_draws(shared, kicks, 7, signed=True)
    monkeypatch.setattr(gpu, "_stable_draws", lambda *_, **__: pytest.fail("a launch of its own"))
    for way, wanted in ((None, shared.unsqueeze(2)), (along, shared.unsqueeze(2) * along.unsqueeze(1))):
        got = before.clone()
        gpu.add(got, "shared", kicks, layer=3, along=way)
        assert torch.equal(got, before + wanted)


def test_one_run_alone_has_a_direction_too() -> None:
    wanted, got, along = torch.zeros(9, 6), torch.zeros(1, 9, 6, device=DEVICE), torch.linspace(-1, 2, 6)
    kick = Kick(1.5, "shared", "filter", 1.0, 5, 6, along)
    noise.kick(wanted, kick)
    launch(got, {0: replace(kick, along=along.to(DEVICE))}, layer=0)
    assert close(got[0], wanted)


def test_the_radius_of_an_isotropic_kick_ends_where_it_does_on_the_cpu() -> None:
    wanted, got = torch.zeros(40, 6), torch.zeros(1, 40, 6, device=DEVICE)
    kick = Kick(0.01, "isotropic", "filter", 1.0, 5, 6)
    noise.kick(wanted, kick)
    launch(got, {0: kick}, layer=0)
    far = (wanted.abs() > 1e37).any(1)
    assert 5 < far.sum() < 35
    assert wanted[far].isfinite().all()
    assert close(got[0][far], wanted[far])


def test_a_run_gets_the_same_bits_alone_and_in_a_grid() -> None:
    for kind in noise.NOISES:
        together, alone = torch.zeros(4, 50, 20, device=DEVICE), torch.zeros(1, 50, 20, device=DEVICE)
        launch(together, given(kind), layer=1)
        launch(alone, {0: given(kind)[3]}, layer=1)
        assert torch.equal(together[3], alone[0])


def test_kicks_of_several_noises_are_kept_apart(monkeypatch) -> None:
    """As on a GPU, on whatever device."""
    weights = torch.zeros(3, 40, 10, device=DEVICE)
    mixed = {row: Kick(1.5, kind, "filter", 1.0, 5, 6) for row, kind in enumerate(noise.NOISES)}
    monkeypatch.setattr(draws, "launched", lambda device: True)
    noise.kick_each(weights, mixed)
    for row, kick in mixed.items():
        wanted = torch.zeros(40, 10)
        noise.kick(wanted, kick)
        assert close(weights[row], wanted)


def test_a_kick_that_is_wrong_is_refused_as_on_the_cpu() -> None:
    weights, good = torch.zeros(1, 3, 2, device=DEVICE), Kick(1.5, "entrywise", "filter", 1.0, 1, 2)
    for change, message in (
        ({"alpha": 3.0}, "alpha must lie"),
        ({"key": -1}, "no such address"),
        ({"step": 2**32}, "no such"),
    ):
        with pytest.raises(ValueError, match=message):
            launch(weights, {0: replace(good, **change)}, layer=0)
    assert not weights.any()


def test_extreme_indices_are_finite_and_positive_in_size() -> None:
    alphas = [1e-300, 1e-46, 1e-12, 0.01, 1 - 1e-9, 1 - 2**-53, 1 + 1e-9, 2 - 2**-52]
    kicks = kicks_of("entrywise", alphas, [1.0] * len(alphas), [3] * len(alphas), [0] * len(alphas))
    sample = gpu.symmetric(kicks, 16_000, 0).cpu()
    assert torch.isfinite(sample).all()
    assert (sample != 0).all()
    radii = torch.zeros(len(alphas), 16_000, device=DEVICE)
    gpu._stable_draws(radii, kicks, 1, signed=False)
    assert torch.isfinite(radii).all()
