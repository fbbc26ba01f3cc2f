"""ONNX files that say what the network says, and the table in which networks are held against each other."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys

import numpy as np
import pytest
import torch
from from_seeds import filled, x
from torch import nn

from heavytail import compress
from heavytail.compress import exporting, measuring
from heavytail.compress.batches import batch_for

pytestmark = pytest.mark.usefixtures("onnx_operators_read_once")


class Two(nn.Module):
    """Two inputs by name, two outputs, and a skip connection over a normalised convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Linear(2, 3)

    def forward(self, image, scale):
        h = torch.relu(image + self.norm(self.conv(image)))
        return {"classes": self.head(h.mean((2, 3)) * scale), "flat": h.view(h.shape[0] * 2, -1)}


def run(path, batch):
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    return session, session.run(None, exporting.fed(batch))


@pytest.mark.long
def test_an_onnx_file_says_what_the_network_says_whatever_the_batch(tmp_path, capfd):
    model, sample = filled(Two()), {"scale": x(2, 1), "image": x(2, 2, 6, 6)}
    compress.export(model.train(), tmp_path / "m.onnx", sample)
    assert model.training
    assert capfd.readouterr() == ("", "")
    model.eval()
    for rows in (1, 2, 9):
        batch = batch_for(model, sample).of(rows)
        session, (classes, flat) = run(tmp_path / "m.onnx", batch)
        with torch.no_grad():
            expected = batch.call(model)
        np.testing.assert_allclose(classes, expected["classes"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(flat, expected["flat"], rtol=1e-4, atol=1e-5)
    assert {given.name: given.shape[0] for given in session.get_inputs()} == {"image": "batch", "scale": "batch"}
    assert [given.name for given in session.get_outputs()] == ["output_0", "output_1"]
    assert session.get_outputs()[0].shape == ["batch", 3]
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


LONG = {
    "encoder": lambda: (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), x(2, 5, 8)),
    "volumes": lambda: (nn.Sequential(nn.Conv3d(1, 2, 2, groups=1), nn.BatchNorm3d(2), nn.GELU()), x(2, 1, 4, 4, 4)),
    "groups": lambda: (
        nn.Sequential(nn.Conv1d(2, 4, 3, groups=2), nn.GroupNorm(2, 4), nn.ConvTranspose1d(4, 3, 3, stride=2)),
        x(2, 2, 8),
    ),
    "float16": lambda: (nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 2)).half(), x(3, 4).half()),
    "channels last": lambda: (
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)).to(
            memory_format=torch.channels_last
        ),
        x(1, 2, 6, 6),
    ),
    "tokens": lambda: (nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2)), torch.ones(2, 3).long()),
}


@pytest.mark.long
@pytest.mark.parametrize("name", LONG)
def test_an_onnx_file_of_every_kind_says_what_the_network_says(name, tmp_path):
    model, sample = LONG[name]()
    filled(model)
    compress.export(model, tmp_path / "m.onnx", sample)
    for rows in (1, 5):
        batch = batch_for(model, sample).of(rows)
        _, (found,) = run(tmp_path / "m.onnx", batch)
        with torch.no_grad():
            expected = batch.call(model)
        room = 1e-2 if expected.dtype == torch.float16 else 1e-4
        np.testing.assert_allclose(found, expected.numpy(), rtol=room, atol=room)


@pytest.mark.long
def test_a_network_that_was_read_can_be_exported(tmp_path):
    model = filled(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    compress.save(model, tmp_path / "m.ht")
    compress.export(compress.load(tmp_path / "m.ht"), tmp_path / "m.onnx", x(2, 4))
    _, (found,) = run(tmp_path / "m.onnx", batch_for(model, x(5, 4)))
    np.testing.assert_allclose(found, model(x(5, 4)).detach(), rtol=1e-4, atol=1e-6)


class Pair(nn.Linear):
    def forward(self, h):
        return super().forward(h), None


class ByValue(nn.Linear):
    def forward(self, h):
        return super().forward(h) if h.sum() > 0 else h


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Pair(3, 3), "this Pair cannot be exported to ONNX: it returns something that is no tensor"),
        (lambda: ByValue(3, 3), "this ByValue cannot be saved or exported: which way its forward goes"),
        pytest.param(
            lambda: nn.Sequential(nn.Conv1d(2, 2, 1)).bfloat16(),
            "ONNX Runtime cannot run this Sequential: ",
            marks=pytest.mark.long,
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_sentence_and_an_older_file_stays(make, sentence, tmp_path, capfd):
    model = make()
    (tmp_path / "m.onnx").write_bytes(b"older")
    sample = torch.ones(2, 2, 3, dtype=torch.bfloat16) if isinstance(model, nn.Sequential) else torch.ones(2, 3)
    with pytest.raises(ValueError, match=f"^{sentence}") as told:
        compress.export(model, tmp_path / "m.onnx", sample)
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


class Converted:
    """What torch's exporter returns, of another network."""

    def __init__(self, content):
        import onnx

        self.model_proto = onnx.load_from_string(content)


def linear(factor):
    """An ONNX file of one product."""
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.float32(factor) * np.ones((3, 2), np.float32), "w")
    node = helper.make_node("MatMul", ["input", "w"], ["output"])
    given, said = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["s0", size])
        for name, size in (("input", 3), ("output", 2))
    )
    graph = helper.make_graph([node], "g", [given], [said], [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 9
    return made.SerializeToString()


@pytest.mark.parametrize(("factor", "same"), [(1.0, True), (1.001, False)])
def test_a_file_that_says_something_else_is_not_put_in_place(factor, same, tmp_path, monkeypatch):
    model = nn.Linear(3, 2, bias=False)
    nn.init.ones_(model.weight)
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Converted(linear(factor)))
    if same:
        compress.export(model, tmp_path / "m.onnx", x(2, 3))
        assert (tmp_path / "m.onnx").exists()
    else:
        with pytest.raises(
            ValueError, match=r"^the ONNX file does not say what the model says of a batch of 1: nothing"
        ):
            compress.export(model, tmp_path / "m.onnx", x(2, 3))
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("absent", ["onnx", "onnxscript", "onnxruntime"])
def test_what_is_missing_is_named(absent, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, absent, None)
    for name, call in (
        ("export", lambda: compress.export(nn.Linear(2, 2), tmp_path / "m.onnx")),
        ("measure", lambda: compress.measure({"a": nn.Linear(2, 2)})),
    ):
        sentence = rf"^heavytail\.compress\.{name} needs {absent}: pip install 'heavytail\[ship\]'$"
        with pytest.raises(ModuleNotFoundError, match=sentence):
            call()


# measuring


class Clock:
    """Seconds that pass only where a network says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow(nn.Module):
    """Takes so many seconds of a clock for a sample, and notes each call."""

    def __init__(self, name, clock, seconds, notes, jitter=()):
        super().__init__()
        self.name, self.clock, self.seconds, self.notes, self.jitter = name, clock, seconds, notes, jitter
        self.layer = nn.Linear(3, 2)

    def __deepcopy__(self, memo):
        return self  # copies would have clocks of their own

    def forward(self, h):
        number = len([name for name, _ in self.notes if name == self.name])
        self.notes.append((self.name, len(h)))
        self.clock.now += self.seconds * len(h) * (self.jitter[number % len(self.jitter)] if self.jitter else 1)
        return self.layer(h)


def slow(*speeds, jitter=()):
    clock, notes = Clock(), []
    models = {f"m{k}": Slow(f"m{k}", clock, speed, notes, jitter) for k, speed in enumerate(speeds)}
    return clock, notes, models


def test_networks_take_turns_in_an_order_that_moves_on():
    clock, notes, models = slow(1.0, 0.5, 0.25)
    found = compress.measure(models, x(2, 3), batches=(4,), seconds=35.0, onnx=False, device="cpu", clock=clock)
    timed = "".join(name[1] for name, rows in notes if rows == 4)
    assert timed.endswith("012" + "120" + "201" + "012" + "120")
    first, second, third = (one.timings[0] for one in found.networks)
    assert (first.median, second.median, third.median) == (4.0, 2.0, 1.0)
    assert (first.ratio, second.ratio, third.ratio) == (1.0, 0.5, 0.25)
    assert (second.low, second.high) == (0.5, 0.5)
    assert (first.way, first.device, first.batch, first.calls) == ("torch", "cpu", 4, 5)


def test_a_fast_network_is_called_more_often_and_each_batch_has_its_share_of_the_time():
    clock, _, models = slow(1 / 16, 1 / 128)
    found = compress.measure(models, x(2, 3), batches=(1, 8), seconds=80.0, onnx=False, device="cpu", clock=clock)
    calls = [[timing.calls for timing in one.timings] for one in found.networks]
    assert calls == [[20 * 16, 20 * 2], [20 * 128, 20 * 16]]  # a second a turn
    assert [timing.batch for timing in found.networks[0].timings] == [1, 8]


def test_times_are_medians_and_95th_percentiles_of_calls_and_ratios_of_rounds():
    times = [float(k) for k in range(1, 21)]
    turns = [[1.0, 2.0, 3.0], [5.0, 5.0, 50.0]]
    one = measuring._timing([times], [10.5], [21.0])
    assert (one.median, one.p95, one.calls, one.ratio) == (10.5, 19.0, 20, 0.5)
    two = measuring._timing(turns, [2.0, 5.0], [4.0, 5.0])
    assert (two.median, two.p95, two.ratio, two.low, two.high) == (4.0, 50.0, 0.75, 0.5, 1.0)
    none = measuring._timing(turns, [2.0, 5.0], None)
    assert (none.ratio, none.low, none.high) == (None, None, None)


def test_a_call_that_takes_longer_than_the_time_is_made_three_times():
    clock, _, models = slow(100.0)
    found = compress.measure(models, x(1, 3), batches=(2,), seconds=0.5, onnx=False, device="cpu", clock=clock)
    assert found.networks[0].timings[0].calls == 3


def test_sizes_work_and_memory_are_counted():
    model = filled(nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5)))
    found = compress.measure({"a": model}, batches=(1, 8), seconds=0.01, onnx=False, device="cpu").networks[0]
    assert (found.parameters, found.multiply_adds) == (325, 300)
    assert 325 * 4 < found.bytes < 325 * 4 + 500
    assert 0 < found.gzipped < found.bytes
    assert found.memory == {1: 160, 8: 1280}  # the first layer and its activation at once
    assert (found.onnx, found.no_onnx) == (None, "")


def test_products_of_an_encoder_are_counted_and_tied_weights_once():
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    tied[1].weight = tied[0].weight
    found = compress.measure(
        {"e": encoder, "t": tied}, x(2, 5, 8), batches=(1,), seconds=0.01, onnx=False, device="cpu"
    )
    products = 5 * (3 * 64 + 64 + 2 * 8 * 16) + 2 * 5 * 5 * 8
    assert [one.multiply_adds for one in found.networks] == [products, 5 * 2 * 64]
    assert [one.parameters for one in found.networks] == [600, 80]
    assert found.networks[1].bytes < 4 * 80 + 400


def test_a_network_is_left_as_it_was_and_so_are_threads_and_random_numbers():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    compress.measure({"a": model}, x(2, 4), batches=(1,), seconds=0.01, onnx=False, device="cpu")
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_the_table_is_text_and_rows():
    clock, _, models = slow(0.002, 0.001)
    found = compress.measure(models, x(2, 3), batches=(1, 4), seconds=1.0, onnx=False, device="cpu", clock=clock)
    lines = str(found).splitlines()
    assert lines[0].split() == [
        "parameters",
        "multiply-adds",
        "bytes",
        "gzipped",
        "onnx",
        *["memory", "at", "1", "memory", "at", "4"],
    ]
    assert lines[1].split()[:3] == ["m0", "8", "6"]
    assert [line.split() for line in lines[-2:]] == [
        ["m1", "torch", "1", "1", "ms", "1", "ms", "0.5", "(0.5", "to", "0.5)"],
        ["m1", "torch", "4", "4", "ms", "4", "ms", "0.5", "(0.5", "to", "0.5)"],
    ]
    rows = found.as_dicts()
    assert rows == json.loads(json.dumps(rows))
    assert [(row["name"], row["batch"], row["memory"]) for row in rows] == [
        ("m0", 1, 8),
        ("m0", 4, 32),
        ("m1", 1, 8),
        ("m1", 4, 32),
    ]


def test_onnx_runtime_is_measured_beside_torch_and_why_not_is_said():
    models = {"good": filled(nn.Linear(3, 2)), "bad": filled(Pair(3, 2))}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        found = compress.measure(models, x(2, 3), batches=(1, 2), seconds=0.05, device="cpu")
    assert printed.getvalue() == ""
    good, bad = found.networks
    assert [(t.way, t.batch) for t in good.timings] == [("torch", 1), ("torch", 2), ("onnx", 1), ("onnx", 2)]
    assert [(t.way, t.batch) for t in bad.timings] == [("torch", 1), ("torch", 2)]
    assert good.onnx > 3 * 2 * 4
    assert bad.onnx is None
    assert bad.no_onnx in str(found)
    turned = compress.measure(dict(reversed(models.items())), x(2, 3), batches=(1,), seconds=0.05, device="cpu")
    assert [t.ratio for t in turned.networks[1].timings if t.way == "onnx"] == [None]  # the first has no such file


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"models": nn.Linear(3, 2)}, TypeError, r"models are a mapping such as"),
        ({"models": {}}, TypeError, r"models are a mapping such as"),
        ({"models": {"a": 3}}, TypeError, r"models are a mapping such as"),
        ({"batches": ()}, ValueError, r"batches= are whole numbers of samples, each once"),
        ({"batches": (0,)}, ValueError, r"batches= are whole numbers of samples, each once"),
        ({"batches": (1, 1)}, ValueError, r"batches= are whole numbers of samples, each once"),
        ({"batches": (1.5,)}, ValueError, r"batches= are whole numbers of samples, each once"),
        ({"seconds": 0}, ValueError, r"seconds= is the time to measure in, above 0, not 0"),
        ({"seconds": math.inf}, ValueError, r"seconds= is the time to measure in, above 0, not inf"),
        ({"seconds": "1"}, ValueError, r"seconds= is the time to measure in"),
        ({"device": "nonsense"}, ValueError, r"device 'nonsense' is not available here"),
        ({"sample": x(2, 4)}, ValueError, r"the model cannot be called with sample=: mat1 and mat2"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(options, error, sentence):
    given = {"models": {"a": nn.Linear(3, 2)}, "sample": x(2, 3), "onnx": False, **options}
    with pytest.raises(error, match=f"^{sentence}"):
        compress.measure(given.pop("models"), given.pop("sample"), **given)


@pytest.mark.needs_cuda
@pytest.mark.gpu
def test_on_a_gpu_torch_is_timed_too_and_a_file_is_read_there(tmp_path):
    model = filled(nn.Sequential(nn.Linear(4, 30), nn.ReLU(), nn.Linear(30, 2)))
    found = compress.measure({"a": model}, batches=(1, 64), seconds=0.2, onnx=False)
    assert [(t.device, t.batch) for t in found.networks[0].timings] == [
        ("cpu", 1),
        ("cpu", 64),
        ("cuda", 1),
        ("cuda", 64),
    ]
    compress.save(model.cuda(), tmp_path / "m.ht")
    again = compress.load(tmp_path / "m.ht", "cuda")
    torch.testing.assert_close(again(x(3, 4).cuda()), model(x(3, 4).cuda()))


def test_measuring_draws_none_of_the_users_random_numbers():
    class Draws(nn.Module):
        def forward(self, x):
            return torch.nn.functional.dropout(x, 0.5, True)

    before = torch.random.get_rng_state()
    compress.measure({"draws": Draws()}, torch.ones(2, 3), batches=(1,), seconds=0.01, onnx=False)
    assert torch.equal(torch.random.get_rng_state(), before)
