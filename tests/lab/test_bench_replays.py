"""What the benchmarks of a GPU time is a replay, and prepares nothing. On a CPU a stand-in records the steps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import recorded_steps
import torch

pytest.importorskip("triton", reason="needs triton, which there is for Linux")

from heavytail import noise
from heavytail._sampler import gpu as sampler
from heavytail.lab.bench import on_gpu, stage
from heavytail.lab.engines import two_layer
from heavytail.lab.machine import recording
from heavytail.noise import draws

pytestmark = pytest.mark.gpu
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")


@pytest.fixture
def recorded(monkeypatch, one_thread) -> Counter[str]:
    """The way of a GPU, where there is none on a CPU: how often laws and keys are laid ready, and steps recorded."""
    counts: Counter[str] = Counter()

    def counted(name, call):
        return lambda *args, **named: counts.update([name]) or call(*args, **named)

    launches = counted("ready", draws.launches)
    for module in (noise, draws):
        monkeypatch.setattr(module, "launches", launches)
        if not ON_GPU:
            monkeypatch.setattr(module, "launched", lambda device: True)
    record = recording.record if ON_GPU else recorded_steps.record
    monkeypatch.setattr(recording, "record", counted("recorded", record))
    if not ON_GPU:
        monkeypatch.setattr(two_layer, "by_core", lambda device: False)
        monkeypatch.setattr(sampler, "add", recorded_steps.kernel(sampler.add))
    return counts


def changed(weights, call):
    before = weights.clone()
    call()
    return weights - before


@pytest.mark.parametrize("kind", noise.NOISES)
@pytest.mark.long
def test_on_a_gpu_a_call_that_is_timed_is_a_replay_and_nothing_more(kind, recorded):
    weights, kicks = torch.zeros(3, 40, 10, device=DEVICE), {row: stage.kick(kind, row) for row in range(3)}
    ours = stage.kicked(weights, kicks)
    wanted = changed(weights.zero_(), lambda: noise.kick_each(weights, kicks))
    nets, x, y, rates = replace(on_gpu.REHEARSAL.grids[1], runs=3).stage(DEVICE)
    step = stage.stepped(nets, x, y, rates, kicks)
    eager = replace(nets, hidden=nets.hidden.clone(), output=nets.output.clone())
    recorded.clear()
    assert torch.equal(changed(weights.zero_(), ours), wanted)
    step()
    assert not recorded  # all is ready before
    two_layer.descend(eager, x, y, rates, {})  # the kicks are too small to see
    torch.testing.assert_close(nets.hidden, eager.hidden, rtol=0, atol=1e-6)
    recorded.clear()
    sides = {
        **on_gpu.kick_and_copy((3, 40, 10), kind, DEVICE),
        **on_gpu._steps(on_gpu.REHEARSAL.grids[0], DEVICE, [kind]),
    }
    assert recorded == {"ready": 2, "recorded": 2}
    for call in sides.values():
        call()
    assert recorded == {"ready": 2, "recorded": 2}


def test_on_a_gpu_steps_with_coarser_products_are_replays_too(recorded, monkeypatch):
    timed = []

    def in_time(sides, *_):
        timed.append(dict(recorded))
        return {side: [1.0] for side in sides}

    monkeypatch.setattr(on_gpu, "in_time", in_time)
    count = len(list(on_gpu.rounded(replace(on_gpu.REHEARSAL, grids=on_gpu.REHEARSAL.grids[:1]), DEVICE)))
    assert count == 4
    assert [counts["recorded"] for counts in timed] == [2, 4]  # each side before it is timed
    assert recorded["recorded"] == 4
