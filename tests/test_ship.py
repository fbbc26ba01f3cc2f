"""A network in a file: it comes back in a process that knows nothing of it, or one sentence says why not."""

from __future__ import annotations

import copy
import json
import os
import pickletools
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from from_seeds import filled, gen, x
from torch import nn

from heavytail import compress, networks
from heavytail.compress import files, program, saving
from heavytail.compress.batches import batch_for


class Block(nn.Module):
    """A convolution with normalisation beside a skip connection, as in a ResNet."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, h):
        return torch.relu_(h + self.norm(self.conv(h)))


class Own(nn.Module):
    """A class that no file knows: inputs by name, a table, tied layers, a mask, a part without gradients."""

    def __init__(self):
        super().__init__()
        self.scales = nn.ParameterDict({"of-the table": nn.Parameter(torch.ones(6))})
        self.table = nn.Embedding(10, 6)
        self.mix = nn.Linear(6, 6)
        self.tied = self.mix
        self.steps = torch.arange(5)
        self.register_buffer("size", torch.tensor(2.0), persistent=False)

    def forward(self, ids, mask, *, scale=None):
        h = self.tied(self.mix(self.table(ids) * self.scales["of-the table"]))
        with torch.no_grad():
            place = torch.arange(ids.shape[1], device=ids.device) / self.size
        h = h + (place + self.steps)[:, None]
        h = h.masked_fill(mask[..., None], float("-inf")).softmax(1)
        return {"step": h, "pooled": [h.sum(1).view(ids.shape[0], -1), (None, 3)]}


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 4))

    def forward(self, *given):
        return nn.functional.linear(given[0], self.weight) - given[1]


def convolutional():
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4, 3))
    return nn.Sequential(nn.Conv2d(2, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), Block(4), nn.MaxPool2d(2), *head)


#: Networks with a sample each.
ZOO = {
    "chain": lambda: (nn.Sequential(nn.Linear(4, 9), nn.GELU(), nn.Dropout(0.5), nn.Linear(9, 2)), x(3, 4)),
    "one sample": lambda: (nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.LeakyReLU(0.3)), x(1, 4)),
    "convolutions": lambda: (convolutional(), x(2, 2, 13, 13)),
    "channels last": lambda: (convolutional().to(memory_format=torch.channels_last), x(2, 2, 13, 13)),
    "other convolutions": lambda: (
        nn.Sequential(
            nn.Conv1d(2, 4, 3, groups=2, padding="same"),
            nn.GroupNorm(2, 4),
            nn.ConvTranspose1d(4, 3, 3, stride=2, output_padding=1),
            nn.Conv1d(3, 3, 3, groups=3, padding=2, padding_mode="circular"),
            nn.BatchNorm1d(3, affine=False),
        ),
        x(2, 2, 8),
    ),
    "volumes": lambda: (nn.Sequential(nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2), nn.Flatten()), x(2, 1, 4, 4, 4)),
    "encoder": lambda: (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), x(2, 5, 8)),
    "own": lambda: (Own(), {"mask": x(2, 5) > 1, "ids": torch.arange(10).view(2, 5)}),
    "any number of arguments": lambda: (Scaled(), (x(2, 4), x(2, 3))),
    "bfloat16": lambda: (nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 2)).bfloat16(), x(3, 4).bfloat16()),
    "float16": lambda: (nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 2)).half(), x(3, 4).half()),
    "float64": lambda: (nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 2)).double(), x(3, 4).double()),
    "mean field": lambda: (networks.MeanField(6, 12, 3, generator=gen()), x(2, 6)),
    "no weights": lambda: (nn.Sequential(nn.Flatten(), nn.ReLU()), x(2, 3, 2)),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with every network of the zoo as a file."""
    folder = tmp_path_factory.mktemp("saved")
    for name, make in ZOO.items():
        model, sample = make()
        compress.save(filled(model), folder / f"{name}.ht", sample)
    return folder


def called(model, sample, rows):
    with torch.no_grad():
        return batch_for(model, sample).of(rows).call(model)


READ = """
import sys, torch
from heavytail import compress
for given in torch.load(sys.argv[1]):
    model = compress.load(given["path"])
    given["said"] = [model(**one) if isinstance(one, dict) else model(*one) for one in given["batches"]]
    given["names"] = list(model.state_dict())
    given["training"] = model.training
    told = sys.argv[2]
    torch.save({key: given[key] for key in ("said", "names", "training")}, f"{told}/{given['name']}.pt")
assert "torch._dynamo" not in sys.modules, "to read a network took longer than need be"
"""


@pytest.mark.long
def test_every_network_is_the_same_in_a_process_that_knows_none_of_its_classes(saved, tmp_path):
    asked = []
    for name, make in ZOO.items():
        model, sample = make()
        batches = [batch_for(filled(model), sample).of(rows) for rows in (1, 2, 7)]
        given = [dict(zip(b.names, b.tensors, strict=True)) if b.named else b.tensors for b in batches]
        asked.append({"name": name, "path": str(saved / f"{name}.ht"), "batches": given})
    torch.save(asked, tmp_path / "asked.pt")
    command = [sys.executable, "-W", "ignore", "-c", READ, str(tmp_path / "asked.pt"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name, make in ZOO.items():
        model, sample = make()
        filled(model)
        told = torch.load(tmp_path / f"{name}.pt")
        assert not told["training"]
        assert set(told["names"]) <= {*model.state_dict(), "steps", "size"}, name
        for rows, said in zip((1, 2, 7), told["said"], strict=True):
            torch.testing.assert_close(said, called(model, sample, rows), rtol=1e-5, atol=1e-6, msg=f"{name} at {rows}")


def test_a_network_that_was_read_has_layers_and_can_be_pruned_tuned_and_saved_again(saved, tmp_path):
    model = compress.load(saved / "convolutions.ht")
    kinds = {
        name: type(layer) for name, layer in model.named_modules() if type(layer).__module__.startswith("torch.nn")
    }
    expected = {"0": nn.Conv2d, "1": nn.BatchNorm2d, "3.conv": nn.Conv2d, "3.norm": nn.BatchNorm2d, "8": nn.Linear}
    assert {name: kind for name, kind in kinds.items() if kind is not nn.Module} == expected
    assert model.get_submodule("0").stride == (2, 2)
    pruned = compress.prune(model, keep=0.5, sample=x(2, 2, 13, 13))
    assert int(compress.norms(pruned.get_parameter("3.conv.weight")).count_nonzero()) == 2
    model.train()(x(2, 2, 13, 13)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    compress.save(pruned, tmp_path / "again.ht", x(2, 2, 13, 13))
    again = compress.load(tmp_path / "again.ht")
    torch.testing.assert_close(again(x(3, 2, 13, 13)), pruned.eval()(x(3, 2, 13, 13)))


def test_layers_of_every_kind_come_back(saved):
    kinds = {type(layer) for name in ZOO for layer in compress.load(saved / f"{name}.ht").modules()}
    assert kinds >= {
        *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.Embedding),
        *(nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm),
    }


def test_what_a_parameter_was_it_is_again(tmp_path):
    model = filled(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))).to(memory_format=torch.channels_last)
    model[0].weight.requires_grad_(False)
    compress.save(model, tmp_path / "m.ht", x(2, 2, 5, 5))
    again = compress.load(tmp_path / "m.ht", device="cpu")
    assert again.get_parameter("0.weight").is_contiguous(memory_format=torch.channels_last)
    assert {n: p.requires_grad for n, p in again.named_parameters()} == {
        n: p.requires_grad for n, p in model.named_parameters()
    }
    held = dict(again.named_buffers())
    assert all(torch.equal(held[name], value) for name, value in model.named_buffers() if name in held)


def test_saving_changes_nothing_and_says_nothing(tmp_path, capfd):
    model, sample = ZOO["convolutions"]()
    filled(model).train()
    model[0].weight.requires_grad_(False)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    for name in ("a.ht", "b.ht"):
        compress.save(model, tmp_path / "new" / name, sample)
    assert model.training
    assert not model[0].weight.requires_grad
    assert model[1].weight.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.ht", "b.ht"]
    assert (tmp_path / "new" / "a.ht").read_bytes() == (tmp_path / "new" / "b.ht").read_bytes()


@pytest.mark.parametrize("name", ["chain", "mean field"])
def test_a_network_that_begins_with_a_known_layer_needs_no_sample(name, tmp_path):
    model, sample = ZOO[name]()
    compress.save(filled(model), tmp_path / "m.ht")
    torch.testing.assert_close(compress.load(tmp_path / "m.ht")(sample), model(sample))


def test_a_file_is_one_of_safetensors_and_holds_no_pickle(saved):
    from safetensors import safe_open

    for name in ZOO:
        content = (saved / f"{name}.ht").read_bytes()
        with safe_open(saved / f"{name}.ht", "pt") as file:
            table = file.metadata()
            for tensor in file.keys():  # noqa: SIM118 - it is no mapping
                assert file.get_tensor(tensor).shape is not None
        assert list(table) == ["heavytail"]
        size = int.from_bytes(content[:8], "little")
        parts = [content, content[8 : 8 + size], content[8 + size :], table["heavytail"].encode()]
        for part in parts:
            assert not part.startswith((b"PK", b"\x80"))
            assert not is_pickle(part)
    assert is_pickle(b"\x80\x04N.")


def is_pickle(content):
    try:
        return [code.name for code, _, _ in pickletools.genops(content)][-1:] == ["STOP"]
    except Exception:
        return False


# what is refused


class ByValue(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, h):
        return self.layer(h) if h.sum() > 0 else h


class OfTwo(ByValue):
    def forward(self, h):
        return self.layer(h.view(2, 3))


class ByItem(ByValue):
    def forward(self, h):
        return self.layer(h)[:, : int(h.argmax())]


class Largest(ByValue):
    def forward(self, h):
        return torch.max(self.layer(h), 1)


class Complex(ByValue):
    def forward(self, h):
        return torch.fft.fft(self.layer(h)) * 1j


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self):
        super().__init__()
        self.enter, self.layer, self.leave = nn.Linear(6, 9), nn.Linear(9, 9, bias=False), nn.Linear(9, 3)

    def forward(self, h):
        h = self.layer(torch.relu(self.enter(h)))
        return self.leave(self.layer(h.tanh()).tanh())


class Tied(nn.Module):
    """A table that is the weight of the head too."""

    def __init__(self):
        super().__init__()
        self.table, self.wide, self.narrow = nn.Embedding(9, 6), nn.Linear(6, 20), nn.Linear(20, 6)

    def forward(self, ids):
        return self.narrow(self.wide(self.table(ids)).sigmoid()) @ self.table.weight.T


class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.graph = nn.Linear(3, 3)

    def forward(self, h):
        return self.graph(h)


class Counting(ByValue):
    """Says something else at each call, which no buffer tells."""

    calls = 0

    def forward(self, h):
        Counting.calls += 1
        return self.layer(h) + Counting.calls


class Autocast(ByValue):
    def forward(self, h):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.layer(h)


def on_meta():
    return nn.Linear(3, 3, device="meta")


def quantised():
    return nn.Sequential(torch.ao.nn.quantized.dynamic.Linear(3, 3))


def sparse():
    model = nn.Sequential(nn.Linear(3, 3))
    model[0].weight = nn.Parameter(model[0].weight.detach().to_sparse())
    return model


def drawing(draw):
    """A network that draws random numbers, also in eval mode."""
    model = ByValue()
    model.forward = lambda h: model.layer(h) + draw(model.layer(h))
    return model


def nan():
    model = nn.Linear(3, 3)
    nn.init.constant_(model.bias, torch.nan)
    return model


ONES = torch.ones(2, 3)
REFUSED = {
    "values decide": (ByValue, ONES, r"this ByValue cannot be saved or exported: which way its forward goes, or a sha"),
    "values are sizes": (ByItem, ONES, r"this ByItem cannot be saved or exported: "),
    "one size": (OfTwo, ONES, r"this OfTwo cannot be saved or exported: it takes batches of one size alone"),
    "a class of its own returned": (Largest, ONES, r"Largest returns a max: have it return tensors"),
    "complex": (Complex, ONES, r"Complex uses a complex as an option, which no file holds"),
    "a name": (Graph, ONES, r"'graph\.bias' cannot be the name of a weight in a file: give it another"),
    "never the same": (Counting, ONES, r"the saved network does not say what the model says of a batch of 1"),
    "autocast": (Autocast, ONES, r"Autocast turns on autocast, which no file holds: convert the network itself"),
    "bernoulli": (
        lambda: drawing(lambda h: h.sigmoid().bernoulli()),
        ONES,
        r"this ByValue draws random numbers in eval",
    ),
    "normal": (lambda: drawing(torch.randn_like), ONES, r"this ByValue draws random numbers in eval mode too, so that"),
    "dropout": (lambda: drawing(nn.functional.dropout), ONES, r"this ByValue draws random numbers in eval mode too"),
    "nothing but nan": (
        nan,
        ONES,
        r"the model says nothing but nan or infinity of the sample, so nothing can be compar",
    ),
    "traced": (
        lambda: torch.jit.trace(nn.Linear(3, 3), ONES),
        ONES,
        r"the model is scripted or traced, so it does not",
    ),
    "scripted part": (
        lambda: nn.Sequential(torch.jit.script(nn.Linear(3, 3))),
        ONES,
        r"layer '0' is scripted or traced, so it does not show what it calls: pass what it was made from",
    ),
    "sparse": (sparse, ONES, r"'0.weight' is sparse: call to_dense\(\) on it first"),
    "lazy": (lambda: nn.LazyLinear(3), ONES, r"'weight' has no shape before the network's first call: call it once"),
    "meta": (on_meta, ONES, r"'weight' is on the meta device and has no values"),
    "quantised": (quantised, ONES, r"layer '0' is quantised: take the network before that"),
    "no model": (dict, ONES, r"a model is a torch.nn.Module, got dict"),
    "too wide": (ByValue, torch.ones(2, 4), r"the model cannot be called with sample=: mat1 and mat2 shapes cannot be"),
    "no sample made up": (lambda: nn.LSTM(3, 3), None, r"no batch can be made up for this LSTM: pass sample="),
    "a list": (ByValue, [1], r"sample= holds a list as 'h': it is a tensor"),
    "a number": (ByValue, {"h": 3}, r"sample= holds a int as 'h'"),
    "another name": (
        ByValue,
        {"y": ONES},
        r"the model cannot be called with sample=: ByValue.forward\(\) got an unexp",
    ),
    "no rows": (ByValue, torch.ones(0, 3), r"sample= has no samples"),
    "one number": (ByValue, torch.tensor(1.0), r"sample= has no samples"),
    "nothing": (ByValue, (), r"sample= is empty"),
}


@pytest.mark.filterwarnings("ignore::UserWarning:torch.ao", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_saved_is_refused_in_one_sentence_and_an_older_file_stays(name, tmp_path, capfd):
    make, sample, sentence = REFUSED[name]
    (tmp_path / "m.ht").write_bytes(b"older")
    with pytest.raises((ValueError, TypeError), match=f"^{sentence}") as told:
        compress.save(make(), tmp_path / "m.ht", sample)
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_a_place_that_can_hold_no_file_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "batch_for", None)
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError, match="is no regular file, and is not replaced: name another place"):
            compress.save(nn.Linear(2, 2), place)
    with pytest.raises(OSError, match=r"m\.ht cannot be written \(.*\): name another place"):
        files.put(tmp_path / "file" / "m.ht", b"")
    with pytest.raises(OSError, match="is no regular file"):
        compress.load(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        compress.load(tmp_path / "none.ht")


def test_a_disk_that_is_full_leaves_the_older_file(tmp_path, monkeypatch):
    (tmp_path / "m.ht").write_bytes(b"older")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"m\.ht cannot be written \(No space left on device\): name another place"):
        compress.save(nn.Linear(2, 2), tmp_path / "m.ht")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


# programs


def test_a_program_has_no_steps_that_nobody_reads_and_is_what_json_holds():
    class Idle(ByValue):
        def forward(self, h):
            torch.relu(h)
            return self.layer(h.clone().add_(1))

    model = filled(Idle())
    made, states = program.recorded(model, batch_for(model, ONES))
    assert [step["do"] for step in made["steps"]] == ["aten.clone.default", "aten.add_.Tensor", "aten.linear.default"]
    assert made == json.loads(json.dumps(made))
    assert sorted(states) == ["layer.bias", "layer.weight"]


def test_a_network_that_was_read_can_be_moved(saved):
    """Steps that make tensors make them where the weights are."""
    model = compress.load(saved / "own.ht")
    assert not re.search(r"device\(type", model.code)
    said = model.to("meta")(
        mask=torch.ones(2, 5, dtype=torch.bool, device="meta"), ids=torch.ones(2, 5, device="meta").long()
    )
    assert said["step"].device.type == "meta"


def test_a_sample_is_repeated_or_cut_where_it_has_samples():
    batch = batch_for(Scaled(), (x(2, 4), x(2, 3)))
    assert batch.names == ("input_0", "input_1")
    five = batch.of(5)
    assert [tuple(t.shape) for t in five.tensors] == [(5, 4), (5, 3)]
    assert torch.equal(five.tensors[0][4], batch.tensors[0][0])
    one = batch_for(Scaled(), (x(2, 4), x(1, 3))).of(1)
    assert [tuple(t.shape) for t in one.tensors] == [(1, 4), (1, 3)]


def test_a_compiled_network_is_not_compiled_for_it(tmp_path):
    model = filled(nn.Sequential(nn.Linear(3, 2)))
    compiled = torch.compile(model, backend=lambda *_: pytest.fail("it was compiled"))
    compress.save(compiled, tmp_path / "m.ht", ONES)
    assert list(compress.load(tmp_path / "m.ht").state_dict()) == list(model.state_dict())
    found = compress.measure({"a": compiled}, ONES, batches=(1,), seconds=0.01, onnx=False, device="cpu")
    assert found.networks[0].parameters == 8


def test_without_safetensors_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    sentence = r"^heavytail\.compress\.save needs safetensors: pip install 'heavytail\[ship\]'$"
    with pytest.raises(ModuleNotFoundError, match=sentence):
        compress.save(nn.Linear(2, 2), Path(tmp_path) / "m.ht")


class Averages(nn.Module):
    """Divides by the length of its input, a number in its code."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(self.a(x).relu().sum(1) / x.shape[1])


def test_a_network_from_a_file_refuses_other_sizes_than_those_it_was_saved_with(tmp_path):
    torch.manual_seed(0)
    model = Averages().eval()
    compress.save(model, tmp_path / "m.ht", torch.randn(3, 4, 5))
    again, more = compress.load(tmp_path / "m.ht"), torch.randn(7, 4, 5)
    torch.testing.assert_close(again(more), model(more))
    for other in (torch.randn(3, 9, 5), torch.randn(3, 5)):
        with pytest.raises(
            ValueError, match=r"^this network was saved for x of the sizes \(any number, 4, 5\), got \(3, "
        ):
            again(other)


def test_a_network_from_a_file_is_shrunk_as_the_one_that_was_saved(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 40), nn.GELU(), nn.Linear(40, 3)).eval()
    compress.save(model, tmp_path / "m.ht")
    x = torch.randn(4, 6)
    small, own = (
        compress.shrink(compress.prune(each, keep=0.25, sample=x), x)
        for each in (compress.load(tmp_path / "m.ht"), model)
    )
    assert sum(p.numel() for p in small.parameters()) == sum(p.numel() for p in own.parameters()) < 500
    torch.testing.assert_close(small(x), own(x))


def test_a_network_from_a_file_whose_weights_are_read_twice_is_pruned_and_shrunk(tmp_path):
    for name, model, sample in (
        ("twice", Twice(), x(4, 6)),
        ("tied", Tied(), torch.arange(8).view(2, 4)),
    ):
        filled(model)
        compress.save(model, tmp_path / f"{name}.ht", sample)
        again = compress.load(tmp_path / f"{name}.ht")
        assert networks.hidden_weights(again, sample).keys() == networks.hidden_weights(model, sample).keys()
        pruned, own = (compress.prune(each, keep=0.5, sample=sample, coupled=True) for each in (again, model))
        assert all(torch.equal(p, own.get_parameter(key)) for key, p in pruned.named_parameters())
        small, expected = (compress.shrink(each, sample) for each in (pruned, own))
        sizes = {key: p.shape for key, p in small.named_parameters()}
        assert sizes == {key: p.shape for key, p in expected.named_parameters()}
        assert sizes != {key: p.shape for key, p in model.named_parameters()}
        torch.testing.assert_close(small(sample), own(sample))


def test_a_network_that_says_nan_in_places_is_saved(tmp_path):
    model = filled(nn.Linear(3, 3))
    with torch.no_grad():
        model.bias[1] = torch.nan
    compress.save(model, tmp_path / "m.ht")
    torch.testing.assert_close(compress.load(tmp_path / "m.ht")(ONES), model(ONES), equal_nan=True)


def test_saving_and_reading_within_inference_mode_is_as_outside(tmp_path):
    model = filled(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    with torch.inference_mode():
        compress.save(model, tmp_path / "m.ht", torch.ones(2, 3))
        again = compress.load(tmp_path / "m.ht")
        found = compress.measure({"a": model}, torch.ones(2, 3), batches=(1,), seconds=0.01, onnx=False, device="cpu")
    again(ONES).sum().backward()
    assert found.networks[0].parameters == 26


def test_a_normalisation_by_the_average_of_all_batches_goes_on_where_it_was(tmp_path):
    model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3, momentum=None), nn.BatchNorm1d(3, momentum=0.2))
    batches = [x(4, 2, 3) + k for k in range(3)]
    for batch in batches[:2]:
        model(batch)
    compress.save(model, tmp_path / "m.ht", batches[0])
    again = compress.load(tmp_path / "m.ht")
    assert [again.get_submodule(name).momentum for name in "12"] == [None, 0.2]
    for each in (model, again):
        each.train()(batches[2])
    for name in ("1.running_mean", "1.running_var", "2.running_mean"):
        torch.testing.assert_close(again.get_buffer(name), model.get_buffer(name))


def test_an_embedding_from_a_file_has_its_padding(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4, padding_idx=2), nn.Flatten(), nn.Linear(12, 3)).eval()
    compress.save(model, tmp_path / "m.ht", torch.tensor([[1, 2, 3]]))
    again = compress.load(tmp_path / "m.ht")
    again(torch.tensor([[2, 2, 1]])).sum().backward()
    (table,) = (p for name, p in again.named_parameters() if p.shape == (9, 4))
    assert table.grad[1].any()
    assert not table.grad[2].any()


def test_a_device_that_is_not_there_is_refused(tmp_path):
    compress.save(nn.Sequential(nn.Linear(4, 3)), tmp_path / "m.ht")
    with pytest.raises(ValueError, match=r"^device 'nowhere' is not available here: use device='cpu'$"):
        compress.load(tmp_path / "m.ht", device="nowhere")


@pytest.mark.parametrize("work", ["prune", "measure"])
def test_a_network_that_holds_what_cannot_be_copied_is_refused(work):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    model.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"^a Sequential cannot be copied: "):
        compress.prune(model, keep=0.5) if work == "prune" else compress.measure({"m": model})
