"""A stream's address fixes its bits, and no two addresses of a run share them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from goodness_of_fit import follows_symmetric, is_fair

from heavytail import stable, streams

FROZEN_SEEDS = [
    8431846347943309920, 4597414171502449497,
    4042681867674859579, 8667956199340197794,
    1275975541612323131, 3995633388421622990,
    1216919990707544289, 233045286041173596,
    2500877409139583138, 2540999438948567855,
    5892472470897923492, 938752621355104129,
    1745718741773654819, 3510141641592664260,
]  # fmt: skip
FROZEN_KEYS = [
    8668861027912758289, 4881901421217228719, 16452687389592421897, 13238389300853459902, 16732062099500631801,
    14153166575370824094, 675977917276771736,
    8431846347943309920, 4042681867674859579, 1275975541612323131, 10440292027562320097, 11724249445994358946,
    5892472470897923492, 1745718741773654819,
]  # fmt: skip
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.needs_cuda),
]


def bits(seed: int, stream: str, step: int = 0, device: str = "cpu") -> tuple[int, ...]:
    stream_generator = streams.generator(seed, stream, step, device=device)
    return tuple(torch.randint(2**62, (8,), generator=stream_generator, device=device).tolist())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("stream", streams.STREAMS)
def test_the_same_address_gives_the_same_bits_on_its_device(stream: str, device: str) -> None:
    assert bits(3, stream, 17, device) == bits(3, stream, 17, device)
    assert streams.generator(3, stream, 17, device=device).device.type == device


def test_every_part_of_the_address_matters() -> None:
    addresses = list(itertools.product((0, 1, 2, 1000, 2**31, 2**40), streams.STREAMS, (0, 1, 2, 99_999)))
    assert len({bits(*address) for address in addresses}) == len(addresses)


def test_the_step_defaults_to_the_first() -> None:
    assert bits(5, "weights") == bits(5, "weights", 0)


def test_addresses_keep_their_bits_across_versions() -> None:
    # Frozen: a change here makes every stored run unrepeatable.
    seeds = [streams.generator(1, stream, step).initial_seed() for stream in streams.STREAMS for step in (0, 1)]
    assert seeds == FROZEN_SEEDS


@pytest.mark.long
def test_no_two_of_a_hundred_thousand_steps_share_the_32_bits_that_torch_keeps() -> None:
    # Hashed 32-bit seeds would repeat with probability 0.69 here.
    seeds = {streams.generator(1, "noise", step).initial_seed() & 0xFFFFFFFF for step in range(100_000)}
    assert len(seeds) == 100_000


@pytest.mark.parametrize("stream", streams.STREAMS)
@pytest.mark.parametrize("seed", [0, 7, 12345])
def test_the_seeds_of_a_stream_step_by_an_odd_stride(seed: int, stream: str) -> None:
    # An odd number added over and over meets all 2^32 residues before one comes back, so the line above holds for all.
    seeds = [streams.generator(seed, stream, step).initial_seed() for step in (0, 1, 2, 2**20, 2**32)]
    stride = (seeds[1] - seeds[0]) % 2**63
    assert stride % 2 == 1
    for k, step in enumerate((0, 1, 2, 2**20, 2**32)):
        assert (seeds[k] - seeds[0]) % 2**63 == step * stride % 2**63


def test_torch_keeps_only_32_bits_of_a_seed_on_the_cpu() -> None:
    # The reason for the stride. Should this fail, torch has changed and the stride does no harm.
    low, high = (torch.Generator().manual_seed(seed) for seed in (7, 7 + 2**32))
    assert torch.equal(torch.rand(5, generator=low), torch.rand(5, generator=high))


@pytest.mark.long
def test_first_draws_of_successive_steps_are_independent_draws_of_the_law() -> None:
    # Seeds in arithmetic progression must not show in the numbers.
    rows = torch.stack([stable.symmetric(1.5, 20, generator=streams.generator(4, "noise", k)) for k in range(6000)])
    assert follows_symmetric(rows, 1.5)
    for column in (0, 19):
        draws = rows[:, column]
        assert follows_symmetric(draws, 1.5)
        for lag in (1, 2, 3):
            assert is_fair(int(((draws[lag:] > 0) == (draws[:-lag] > 0)).sum()), len(draws) - lag)
            large = draws.abs() > draws.abs().median()
            assert is_fair(int((large[lag:] == large[:-lag]).sum()), len(draws) - lag)


def test_making_and_using_a_stream_leaves_the_global_state_alone() -> None:
    before = torch.random.get_rng_state()
    bits(1, "noise", 5)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            (1, "dropout", 0),
            r"^unknown stream 'dropout': choose one of weights, batches, noise, data, pruning, tuning, validation$",
        ),
        ((-1, "noise", 0), r"^a stream is addressed by a seed and a step >= 0, got seed=-1$"),
        ((1, "noise", -2), r"^a stream is addressed by a seed and a step >= 0, got step=-2$"),
    ],
)
def test_an_address_that_does_not_exist_is_refused(address: tuple[int, str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        streams.generator(*address)


# ---- keys


def test_a_key_is_64_bits_of_its_stream() -> None:
    # Frozen: a change here makes every stored run unrepeatable.
    assert [streams.key(seed, stream) for seed in (0, 1) for stream in streams.STREAMS] == FROZEN_KEYS
    assert all(0 <= key < 2**64 for key in FROZEN_KEYS)
    assert max(FROZEN_KEYS) >= 2**63  # no bit is lost to a sign


def test_no_two_streams_of_many_seeds_share_a_key() -> None:
    keys = [streams.key(seed, stream) for seed in [*range(5000), 2**31, 2**40] for stream in streams.STREAMS]
    assert len(set(keys)) == len(keys)


def test_a_key_tells_what_it_is_about_and_in_which_order() -> None:
    # Frozen: a change here makes every stored run unrepeatable.
    assert streams.key(1, "noise", "mnist", 2000) == 15038867366824121776
    about = [
        ("mnist", 2000),
        (2000, "mnist"),
        ("mnist", "2000"),
        ("mnist2000",),
        ("mnist", 2000, 1),
        ("mnist", 200, 1),
        (),
    ]
    keys = [streams.key(seed, stream, *words) for seed in (1, 2) for stream in ("noise", "data") for words in about]
    assert len(set(keys)) == len(keys)


def test_the_bits_of_a_key_are_fair() -> None:
    keys = np.array([streams.key(seed, "noise") for seed in range(5000)], np.uint64)
    for bit in range(64):
        assert is_fair(int(((keys >> np.uint64(bit)) & np.uint64(1)).sum()), len(keys))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            (1, "dropout"),
            r"^unknown stream 'dropout': choose one of weights, batches, noise, data, pruning, tuning, validation$",
        ),
        ((-1, "noise"), r"^a stream is addressed by a seed and a step >= 0, got seed=-1$"),
    ],
)
def test_a_key_that_does_not_exist_is_refused(address: tuple[int, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        streams.key(*address)


def test_a_word_and_a_device_say_what_they_are_made_of():
    with pytest.raises(TypeError, match=r"^a word is drawn from a torch.Generator, not from a NoneType$"):
        streams.word(None)
    with pytest.raises(TypeError, match=r"^a device is a torch.device or a name such as 'cpu', not a NoneType$"):
        streams.present(None)
