"""A file of a network, damaged anywhere, of something else, or made by somebody who means harm."""

from __future__ import annotations

import io
import pickle
import zipfile

import pytest
import torch
from fault_counts import ALL, LOST, ONE_SENTENCE, TRACEBACK, UNDISTURBED, WRONG
from torch import nn

from heavytail import compress
from heavytail.compress import saving


def outcome(path, model, sample):
    """What comes of reading a file: the right network, one sentence, or worse."""
    try:
        again = compress.load(path)
    except ValueError as error:
        return ONE_SENTENCE if str(error).startswith(f"{path}: it ") and "\n" not in str(error) else TRACEBACK
    except Exception:
        return TRACEBACK
    if list(again.state_dict()) != list(compress.load(path.with_name("whole.ht")).state_dict()):
        return LOST
    return UNDISTURBED if torch.equal(again(sample), model(sample)) else WRONG


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small network, its sample, and the content of its file."""
    generator = torch.Generator().manual_seed(1)
    model, sample = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)), torch.randn(4, 3, generator=generator)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    path = tmp_path_factory.mktemp("small") / "whole.ht"
    compress.save(model, path, sample)
    return model, sample, path


def test_a_file_of_which_any_byte_was_changed_is_refused_or_is_the_same_network(small, tried):
    model, sample, path = small
    whole = path.read_bytes()
    for place in range(0, len(whole), 1 if ALL else 5):
        for change in (1, 0x20, 0x80) if ALL else (1 << place % 8,):
            changed = bytearray(whole)
            changed[place] ^= change
            path.with_name("changed.ht").write_bytes(changed)
            tried("networks in files", outcome(path.with_name("changed.ht"), model, sample))


def test_a_file_that_was_cut_off_or_goes_on_is_refused(small, tried):
    model, sample, path = small
    whole = path.read_bytes()
    for content in (*(whole[:size] for size in range(0, len(whole), 1 if ALL else 23)), whole + b"\0", whole + whole):
        path.with_name("changed.ht").write_bytes(content)
        found = outcome(path.with_name("changed.ht"), model, sample)
        assert found == ONE_SENTENCE
        tried("networks in files", found)


def foreign():
    from safetensors.torch import save

    torch_file, archive = io.BytesIO(), io.BytesIO()
    torch.save(nn.Linear(2, 2), torch_file)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../evil.txt", "x")
    return {
        "empty": b"",
        "text": b"a network",
        "zeros": bytes(100),
        "pickle": pickle.dumps({"a": 1}),
        "torch": torch_file.getvalue(),
        "zip": archive.getvalue(),
        "weights alone": save({"a": torch.ones(2)}),
        "other metadata": save({"a": torch.ones(2)}, {"heavytail": "[" * 100_000}),
        "a long header": (2**40).to_bytes(8, "little") + b"{}",
        "a list": (2).to_bytes(8, "little") + b"[]",
    }


@pytest.mark.parametrize("name", sorted(foreign()))
def test_a_file_of_something_else_is_refused_in_one_sentence(name, tmp_path):
    (tmp_path / "m.ht").write_bytes(foreign()[name])
    with pytest.raises(ValueError, match=r"m\.ht: it is no network of heavytail\.compress\.save, or it is cut off$"):
        compress.load(tmp_path / "m.ht")


def test_of_a_large_file_of_something_else_little_is_read(tmp_path, monkeypatch):
    with (tmp_path / "m.ht").open("wb") as file:
        file.write((2**20).to_bytes(8, "little"))
        file.truncate(2**33)
    read = []
    content_of = saving.files.content_of
    monkeypatch.setattr(saving.files, "content_of", lambda path, most=-1: read.append(most) or content_of(path, most))
    with pytest.raises(ValueError, match="it is no network"):
        compress.load(tmp_path / "m.ht")
    assert read == [8, 8 + 2**20]


# hostile files: whole, with a digest, and asking for what no network may do


def written(path, steps, inputs=("x",), returns=None, states=None, **about):
    states = states or {}
    returns = {"step": len(steps) - 1} if returns is None else returns
    held = {"format": 1, "program": {"inputs": list(inputs), "steps": steps, "returns": returns}}
    rest = {"parameters": dict.fromkeys(states, True), "channels_last": []}
    path.write_bytes(saving.sealed({**held, **rest, **about}, states))
    return path


X = {"input": "x"}
HOSTILE = {
    "opens a file": [{"do": "aten.from_file.default", "of": ["evil", True, 4]}],
    "a function of torch": [{"do": "torch.load", "of": ["evil"]}],
    "a function of Python": [{"do": "os.system", "of": ["touch evil"]}],
    "through an operation": [{"do": "aten.relu.default.__class__", "of": [X]}],
    "a private attribute": [{"do": "aten.relu.__init__", "of": [X]}],
    "a private operation": [{"do": "aten._assert_async.default", "of": [X]}],
    "another library": [{"do": "profiler._record_function_enter_new.default", "of": ["a"]}],
    "powers": [{"do": "pow", "of": [9, 9]}],
    "an operation that is none": [{"do": "aten.evil.default", "of": [X]}],
    "more than it takes": [{"do": "aten.relu.default", "of": [X, X, X]}],
    "an option that is none": [{"do": "aten.relu.default", "of": [X], "with": [["evil", 1]]}],
    "a step to come": [{"do": "aten.relu.default", "of": [{"step": 0}]}],
    "a state that is not there": [{"do": "aten.relu.default", "of": [{"state": "w"}]}],
    "an input that is not there": [{"do": "aten.relu.default", "of": [{"input": "y"}]}],
    "an attribute of torch": [{"do": "aten.to.dtype", "of": [X, {"dtype": "os"}]}],
    "something else": [{"do": "aten.relu.default", "of": [{"eval": "1"}]}],
    "a layer that is none": [
        {"do": "aten.group_norm.default", "of": [X, 0, {"state": "norm.weight"}, {"state": "norm.bias"}]}
    ],
    "nothing to do": [{"of": [X]}],
    "no step": ["evil"],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_asks_for_what_no_network_may_do_is_refused_and_nothing_is_done(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    states = {"norm.weight": torch.ones(2), "norm.bias": torch.ones(2)}
    path = written(tmp_path / "m.ht", HOSTILE[name], states=states)
    with pytest.raises(ValueError, match=r"m\.ht: it holds no network that can be made \(.*\)$") as told:
        compress.load(path)
    assert "\n" not in str(told.value)
    assert [one.name for one in tmp_path.iterdir()] == ["m.ht"]


@pytest.mark.parametrize("name", ["x=print('evil')", "lambda", "", "x, y", "x\nimport os"])
def test_a_name_that_would_be_code_is_none_of_an_argument(name, tmp_path):
    path = written(tmp_path / "m.ht", [], inputs=[name], returns={"input": name})
    with pytest.raises(ValueError, match="is no name of an argument"):
        compress.load(path)


@pytest.mark.parametrize("name", ['a")(x) or print("evil', "a.__class__.x", "forward", "", "a..b", "a\\", "a'", "a\n"])
def test_a_name_that_would_be_code_is_none_of_a_weight(name, tmp_path):
    path = written(tmp_path / "m.ht", [], returns={"state": name}, states={name: torch.ones(2)})
    with pytest.raises(ValueError, match=r"m\.ht: it "):
        compress.load(path)


def test_texts_in_a_program_are_texts(tmp_path):
    text = "'); print('evil"
    path = written(tmp_path / "m.ht", [], returns={"dict": [[text, {"input": "x"}], ["other", text]]})
    assert compress.load(path)(3) == {text: 3, "other": text}


def test_what_is_known_only_to_a_later_version_says_so(tmp_path):
    path = written(tmp_path / "m.ht", [], returns={"input": "x"}, format=2)
    with pytest.raises(ValueError, match=r"it has format 2, and this version of heavytail reads 1: update it"):
        compress.load(path)


@pytest.mark.parametrize(
    "about", [{"parameters": 3}, {"parameters": {"w": "yes"}}, {"channels_last": 3}, {"program": 3}]
)
def test_what_should_be_there_and_is_something_else_is_refused(about, tmp_path):
    path = written(tmp_path / "m.ht", [], returns={"state": "w"}, states={"w": torch.ones(2)}, **about)
    with pytest.raises(ValueError, match=r"m\.ht: it"):
        compress.load(path)
