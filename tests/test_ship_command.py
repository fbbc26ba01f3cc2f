"""`heavytail ship`: from a file, a stored run or a function to a smaller file and a table, or one sentence."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from heavytail import Run, compress, sweep, train
from heavytail.cli import main
from heavytail.compress import shipping
from heavytail.lab.trained import trained

MODULE = """
import torch
from torch import nn

def chain():
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
        model[0].weight[:10] *= 1e-3
    return model

made = chain()
number = 3

def broken():
    raise OSError("no weights\\nhere")
"""
FAST = ["--batches", "1,2", "--seconds", "0.05"]
RUN = Run(dataset="digits", width=16, lr=0.1, max_steps=3)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_to_ship.py").write_text(MODULE)
    yield "mine_to_ship"
    sys.modules.pop("mine_to_ship", None)


@pytest.fixture
def without_onnx(monkeypatch):
    """Tables of torch alone: a conversion takes seconds."""
    measure = compress.measure
    monkeypatch.setattr(compress, "measure", lambda *given, **options: measure(*given, **options, onnx=False))


def refused(capsys, *arguments):
    """The one sentence with which a command is refused."""
    assert main(["ship", *map(str, arguments)]) == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.startswith("heavytail: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.long
@pytest.mark.usefixtures("onnx_operators_read_once")
def test_a_function_is_pruned_shrunk_written_twice_and_measured(module, tmp_path, capfd):
    arguments = ["ship", f"{module}:chain", "--squared-error", "0.1", "--out", "new/small.ht", "--onnx", "small.onnx"]
    assert main([*arguments, *FAST]) == 0
    printed, said = capfd.readouterr()
    assert said == ""
    lines = printed.splitlines()
    assert lines[:2] == ["new/small.ht: 83 parameters of 203", "small.onnx: 83 parameters of 203"]
    rows = [line.split()[:3] for line in lines if line.startswith(("original", "small "))]
    assert [row[:2] for row in rows[:2]] == [["original", "203"], ["small", "83"]]
    assert rows[2:] == [
        [name, way, size] for name in ("original", "small") for way in ("torch", "onnx") for size in "12"
    ]
    small, x = compress.load("new/small.ht"), torch.randn(5, 6, generator=torch.Generator().manual_seed(2))
    model = compress.prune(sys.modules[module].chain(), squared_error=0.1)
    torch.testing.assert_close(small(x), model(x))
    import onnxruntime

    session = onnxruntime.InferenceSession("small.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], model(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("without_onnx")
def test_rows_are_json_and_lines_then_go_to_standard_error(module, capsys):
    assert main(["ship", f"{module}:made", "--keep", "0.25", "--out", "s.ht", "--json", *FAST]) == 0
    printed, said = capsys.readouterr()
    rows = json.loads(printed)
    assert [(row["name"], row["batch"], row["parameters"]) for row in rows] == [
        ("original", 1, 203),
        ("original", 2, 203),
        ("small", 1, 53),
        ("small", 2, 53),
    ]
    assert said == "s.ht: 53 parameters of 203\n"


@pytest.mark.usefixtures("without_onnx")
def test_a_stored_run_is_shipped_from_where_its_weights_lie(tmp_path, capsys):
    swept = sweep([RUN], store=tmp_path / "store", progress=False)
    train([RUN], progress=False).save(tmp_path / "saved")
    key = swept.table["key"][0]
    for place in (tmp_path / "store" / "weights", tmp_path / "saved"):
        out = tmp_path / f"{place.name}.ht"
        assert main(["ship", str(place / f"{key}.safetensors"), "--keep", "0.5", "--out", str(out), *FAST]) == 0
        assert capsys.readouterr().out.startswith(f"{out}: {8 * 74} parameters of {16 * 74:,}\n")
        small = compress.load(out)
        assert small.get_parameter("1.weight").shape == (8, 64)
    weights = trained(tmp_path / "saved" / f"{key}.safetensors")[0].state_dict()
    assert all(torch.equal(weights[name], value) for name, value in swept.weights(RUN).items())


def test_a_stored_run_that_is_not_whole_is_refused(tmp_path, capsys):
    swept = sweep([RUN], store=tmp_path / "store", progress=False)
    train([RUN], progress=False).save(tmp_path / "saved")
    key = swept.table["key"][0]
    kept, saved = tmp_path / "store" / "weights" / f"{key}.safetensors", tmp_path / "saved" / f"{key}.safetensors"
    other = kept.with_name("0" * 16 + ".safetensors")
    other.write_bytes(kept.read_bytes())
    assert "belongs to no finished run" in refused(capsys, other, "--keep", "0.5")
    beside = saved.with_name(other.name)
    beside.write_bytes(saved.read_bytes())
    assert "has no run '0000000000000000'" in refused(capsys, beside, "--keep", "0.5")
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(saved.read_bytes())
    assert "is no network that compress.save wrote, and no weights of a stored run" in refused(
        capsys, alone, "--keep", "0.5"
    )
    row = tmp_path / "store" / "rows" / f"{key}.json"
    whole = row.read_bytes()
    row.write_bytes(whole.replace(b'"steps":3', b'"steps":2'))
    assert f"{row} is damaged" in refused(capsys, kept, "--keep", "0.5")
    row.write_bytes(b"{}")
    assert f"{row} is damaged" in refused(capsys, kept, "--keep", "0.5")
    row.write_bytes(whole)
    kept.write_bytes(kept.read_bytes()[:-1] + b"\xff")
    assert f"{kept} is damaged" in refused(capsys, kept, "--keep", "0.5")
    saved.write_bytes(saved.read_bytes()[:-1])
    assert "does not hold readable weights" in refused(capsys, saved, "--keep", "0.5")


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        ("none.ht", ["--keep", "0.5"], "there is no file none.ht; a function is named as in package.module:function"),
        (
            "mine_to_ship:none",
            ["--keep", "0.5"],
            "the network 'mine_to_ship:none' cannot be made: module 'mine_to_ship'",
        ),
        ("mine_to_ship:broken", ["--keep", "0.5"], "the network 'mine_to_ship:broken' cannot be made: no weights\n"),
        ("mine_to_ship:number", ["--keep", "0.5"], "the network 'mine_to_ship:number' cannot be made: 'int' object is"),
        ("json:JSONDecoder", ["--keep", "0.5"], "the network 'json:JSONDecoder' is a JSONDecoder: name a function"),
        ("no.such:thing", ["--keep", "0.5"], "the network 'no.such:thing' cannot be made: No module named 'no"),
        ("mine_to_ship:chain", ["--keep", "2"], "keep is a share of units in [0, 1], got 2"),
        ("mine_to_ship:chain", ["--squared-error", "1"], "squared_error is a squared relative error in [0, 1), got 1"),
        ("mine_to_ship:chain", ["--keep", "0.5", "--batches", "0"], "batches= are whole numbers of samples"),
        ("mine_to_ship:chain", ["--keep", "0.5", "--seconds", "-1"], "seconds= is the time to measure in, above 0"),
        ("mine_to_ship:chain", ["--keep", "0.5", "--out", "."], ". is no regular file, and is not replaced"),
        ("mine_to_ship:chain", ["--keep", "0.5", "--sample", "none.npy"], "No such file or directory: 'none.npy'"),
        (
            "mine_to_ship:chain",
            ["--keep", "0.5", "--sample", "text.npy"],
            "text.npy holds no arrays of numbers as numpy",
        ),
        ("mine_to_ship:chain", ["--keep", "0.5", "--sample", "objects.npy"], "objects.npy holds no arrays of numbers"),
        ("mine_to_ship:chain", ["--keep", "0.5", "--sample", "words.npy"], "words.npy holds no numbers but <U3"),
        (
            "mine_to_ship:chain",
            ["--keep", "0.5", "--sample", "x.npy", "x.npz"],
            "x.npz holds arrays by name, and so is",
        ),
        ("mine_to_ship:chain", ["--keep", "0.5", "--sample", "wide.npy"], "cannot be called with sample="),
        (
            "text.npy",
            ["--keep", "0.5"],
            "text.npy is no network that compress.save wrote, and no weights of a stored run",
        ),
    ],
)
@pytest.mark.usefixtures("module", "without_onnx")
def test_what_cannot_be_shipped_is_one_sentence_and_nothing_is_written(source, options, sentence, tmp_path, capsys):
    (tmp_path / "text.npy").write_text("no numbers")
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object))
    np.save(tmp_path / "words.npy", np.array(["one", "two"]))
    np.save(tmp_path / "x.npy", np.ones((2, 6)))
    np.savez(tmp_path / "x.npz", input=np.ones((2, 6)))
    np.save(tmp_path / "wide.npy", np.ones((2, 7)))
    before = {path.name for path in tmp_path.iterdir()}
    assert sentence in refused(capsys, source, *options, *([] if "--out" in options else ["--onnx", "new/o.onnx"]))
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == before


@pytest.mark.parametrize("arguments", [[], ["x"], ["x", "--keep", "1", "--squared-error", "0.1"], ["x", "--keep", "y"]])
def test_a_command_that_says_too_little_or_too_much_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["ship", *arguments])
    assert stop.value.code == 2
    assert "usage: heavytail ship" in capsys.readouterr().err


def test_numbers_of_a_sample_are_of_the_type_of_the_network(tmp_path):
    model = nn.Linear(6, 2).bfloat16()
    np.save(tmp_path / "a.npy", np.asfortranarray(np.ones((2, 6), ">f8")))
    np.save(tmp_path / "b.npy", np.arange(4).reshape(2, 2))
    np.savez(tmp_path / "c.npz", input=np.ones((2, 6), np.float32))
    one, two = shipping.sample_in([tmp_path / "a.npy", tmp_path / "b.npy"], model)
    assert one.dtype == torch.bfloat16
    assert two.tolist() == [[0, 1], [2, 3]]
    assert shipping.sample_in([tmp_path / "c.npz"], model)["input"].dtype == torch.bfloat16
    assert shipping.sample_in([], model) is None


@pytest.mark.usefixtures("without_onnx")
def test_a_file_of_a_network_can_be_the_source(module, tmp_path, capsys, monkeypatch):
    """What is read can be pruned; it is no torch.nn.Sequential, so whether it can be shrunk is for shrink to say."""
    model = shipping.found(f"{module}:chain")
    compress.save(model, tmp_path / "whole.ht")
    monkeypatch.setattr(shipping, "shrink", lambda network, sample: network)
    assert main(["ship", str(tmp_path / "whole.ht"), "--keep", "0.5", *FAST]) == 0
    assert "original" in capsys.readouterr().out


LIBRARY = """
import sys
import torch
from torch import nn
from heavytail import cli, compress
compress.measure = lambda models, sample, **options: f"measured {list(models)}"
made = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 3))
for name in ("pandas", "pyarrow", "sklearn", "tqdm", "platformdirs", "torchvision"):
    sys.modules[name] = None
sys.modules["mine"] = sys.modules["__main__"]
assert cli.main(["ship", "mine:made", "--keep", "0.5", "--out", "small.ht"]) == 0
assert cli.main(["ship", "weights.safetensors", "--keep", "0.5"]) == 2
"""


@pytest.mark.long
def test_a_network_is_shipped_where_the_lab_is_not_installed(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "weights.safetensors")
    command = [sys.executable, "-W", "ignore", "-c", LIBRARY]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["small.ht: 103 parameters of 203", "measured ['original', 'small']"]
    (said,) = done.stderr.splitlines()
    assert said.endswith(": pip install 'heavytail[lab]'")


def test_two_files_of_one_name_are_refused_before_the_work(module, tmp_path, capsys):
    place = str(tmp_path / "small.ht")
    assert main(["ship", f"{module}:chain", "--keep", "0.5", "--out", place, "--onnx", place]) == 2
    assert "is named for both files: give --out and --onnx names of their own" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.ht"))


@pytest.mark.usefixtures("without_onnx")
def test_what_was_saved_is_shipped_again_without_a_sample(module, tmp_path):
    compress.save(shipping.found(f"{module}:chain"), tmp_path / "whole.ht")
    place = str(tmp_path / "small.ht")
    assert main(["ship", str(tmp_path / "whole.ht"), "--keep", "0.5", "--out", place, *FAST]) == 0
    read = [compress.load(tmp_path / name) for name in ("whole.ht", "small.ht")]
    before, after = (sum(p.numel() for p in network.parameters()) for network in read)
    assert after < before
