"""Data sets of one's own: every form is taken, everything that is none is refused in one sentence."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
import torch
from dataset_files import declare_official, made_up, write_npz
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from heavytail import Run, train
from heavytail.lab import datasets, queue, trainer
from heavytail.lab.datasets import Dataset, from_arrays, from_csv, from_npz, from_torch, identity

X_TRAIN, Y_TRAIN = np.arange(12.0).reshape(6, 2) / 8, np.array([0, 1, 2, 0, 1, 2])
X_TEST, Y_TEST = np.arange(8.0).reshape(4, 2) / 8, np.array([2, 1, 0, 2])
GOOD = MappingProxyType({"x_train": X_TRAIN, "y_train": Y_TRAIN, "x_test": X_TEST, "y_test": Y_TEST, "classes": None})
RUN = Run(dataset="mine", width=4, lr=0.1, max_steps=2)


def made(name="mine", **changes):
    return from_arrays(name, **{**GOOD, **changes})


def by_hand(name="mine", **changes):
    """A `Dataset` that nobody has looked at."""
    values = {name: torch.as_tensor(value) for name, value in GOOD.items() if name != "classes"}
    return Dataset(name, **{**values, "classes": 3, "verified": False, "source": "a test", **changes})


def with_value(array, row, value):
    changed = np.array(array, dtype=np.result_type(array, type(value)))
    changed[row] = value
    return changed


def contents(dataset):
    return [tensor.tolist() for tensor in dataset.tensors()], dataset.classes


# what is taken

INPUTS = {
    "float64": X_TRAIN,
    "float32": X_TRAIN.astype(np.float32),
    "float16": X_TRAIN.astype(np.float16),
    "long double": X_TRAIN.astype(np.longdouble),
    "big-endian": X_TRAIN.astype(">f8"),
    "column order": np.asfortranarray(X_TRAIN),
    "backwards": X_TRAIN[::-1].copy()[::-1],
    "lists": X_TRAIN.tolist(),
    "tuple of arrays": tuple(X_TRAIN),
    "read-only": np.frombuffer(X_TRAIN.tobytes()).reshape(6, 2),
    "frame": pd.DataFrame(X_TRAIN),
    "frame that may lack values": pd.DataFrame(X_TRAIN).astype("Float64"),
    "tensor": torch.tensor(X_TRAIN),
    "half tensor": torch.tensor(X_TRAIN, dtype=torch.float16),
    "bfloat16 tensor": torch.tensor(X_TRAIN, dtype=torch.bfloat16),
    "transposed tensor": torch.tensor(X_TRAIN.T.copy()).T,
    "tensor with gradient": torch.tensor(X_TRAIN, requires_grad=True),
}
LABELS = {
    **{
        kind: Y_TRAIN.astype(kind)
        for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
    **{kind: Y_TRAIN.astype(kind) for kind in ("float16", "float32", "float64", ">i4")},
    "list": Y_TRAIN.tolist(),
    "series": pd.Series(Y_TRAIN, index=range(6, 0, -1)),
    **{
        str(kind): torch.tensor(Y_TRAIN).to(kind)
        for kind in (torch.int32, torch.uint16, torch.float64, torch.float8_e5m2)
    },
    "strided tensor": torch.tensor(np.repeat(Y_TRAIN, 2))[::2],
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("hands", [made, by_hand])
def test_inputs_of_every_real_type_become_contiguous_float32(kind, hands):
    dataset = hands(x_train=INPUTS[kind]).checked()
    assert dataset.x_train.dtype == torch.float32
    assert dataset.x_train.is_contiguous()
    assert not dataset.x_train.requires_grad
    assert contents(dataset) == contents(made())
    assert dataset.id == made().id


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("hands", [made, by_hand])
def test_whole_labels_of_every_type_become_int64(kind, hands):
    dataset = hands(y_train=LABELS[kind]).checked()
    assert dataset.y_train.dtype == torch.int64
    assert dataset.y_train.is_contiguous()
    assert contents(dataset) == contents(made())


def test_labels_may_be_truth_values():
    assert made(y_train=Y_TRAIN > 1, y_test=Y_TEST > 1).y_train.tolist() == [0, 0, 1, 0, 0, 1]


def test_nothing_is_normalised_or_scaled():
    pictures = np.full((6, 3, 32, 32), 255, np.uint8)
    dataset = made(x_train=pictures, x_test=pictures[:4])
    assert dataset.x_train.shape == (6, 3, 32, 32)
    assert (dataset.x_train == 255).all()


def test_classes_are_the_largest_label_of_both_splits_plus_one_and_at_least_two():
    assert made().classes == 3
    assert made(y_test=[0, 0, 0, 7]).classes == 8
    assert made(y_train=[0] * 6, y_test=[0] * 4).classes == 2
    assert made(classes=10).classes == made(classes=np.int64(10)).classes == 10


def test_a_data_set_does_not_share_its_memory_with_what_it_was_made_of():
    x, y = torch.tensor(X_TRAIN, dtype=torch.float32), torch.tensor(Y_TRAIN)
    array = X_TEST.astype(np.float32)
    dataset = made(x_train=x, y_train=y, x_test=array)
    for values in (x, y, array):
        values[:] = 1
    assert contents(dataset) == contents(made())


# what is refused, by whatever door it comes

BAD = {
    "1-d inputs": ({"x_train": X_TRAIN[:, 0]}, r"^x_train of mine must be \(rows, ...\), got shape \(6,\): reshape"),
    "no inputs": ({"x_test": X_TEST[:, :0]}, r"^x_test of mine is empty, of shape \(4, 0\)"),
    "no rows": ({"x_test": X_TEST[:0], "y_test": Y_TEST[:0]}, r"^x_test of mine is empty, of shape \(0, 2\)"),
    "a number": ({"x_train": 3.0}, r"^x_train of mine must be \(rows, ...\), got shape \(\)"),
    "None": ({"x_train": None}, r"^x_train of mine is of type object: give real numbers$"),
    "other rows": (
        {"x_test": X_TEST[:, :1]},
        r"^a row of x_train of mine is of shape \(2,\), but one of x_test of \(1,\)",
    ),
    "too few labels": (
        {"y_train": Y_TRAIN[:5]},
        r"^x_train of mine has 6 rows, but y_train has 5: give each one label$",
    ),
    "too many labels": ({"y_test": np.zeros(5)}, r"^x_test of mine has 4 rows, but y_test has 5: give each one label$"),
    "complex": ({"x_train": X_TRAIN + 0j}, r"^x_train of mine is of type complex128: give real numbers$"),
    "complex tensor": ({"x_train": torch.ones(6, 2) + 0j}, r"^x_train of mine is of type torch.complex64: give real"),
    "strings": ({"x_train": X_TRAIN.astype(str)}, r"^x_train of mine is of type <U\d+: give real numbers$"),
    "a value lacks": (
        {"x_train": pd.DataFrame(X_TRAIN).astype("Float64").replace(X_TRAIN[1, 0], pd.NA)},
        r"^row 1 of x_train of mine holds a value that is no finite number in float32",
    ),
    "objects": ({"x_train": X_TRAIN.astype(object)}, r"^x_train of mine is of type object: give real numbers$"),
    "dates": ({"x_train": X_TRAIN.astype("M8[s]")}, r"^x_train of mine is of type datetime64\[s\]: give real numbers$"),
    "ragged": ({"x_train": [[1.0], [1.0, 2.0]]}, r"^x_train of mine is no array of numbers: "),
    "masked": ({"x_train": np.ma.masked_less(X_TRAIN, 0.2)}, r"^x_train of mine has masked values: fill them"),
    "sparse": (
        {"x_train": torch.eye(6, 2).to_sparse()},
        r"^x_train of mine is a tensor without plain values in memory",
    ),
    "meta": ({"x_train": torch.ones(6, 2, device="meta")}, r"^x_train of mine is a tensor without plain values in mem"),
    "nan": (
        {"x_train": with_value(X_TRAIN, (4, 1), np.nan)},
        r"^row 4 of x_train of mine holds a value that is no finite",
    ),
    "inf": (
        {"x_test": with_value(X_TEST, (2, 0), -np.inf)},
        r"^row 2 of x_test of mine holds a value that is no finite",
    ),
    "huge": (
        {"x_test": with_value(X_TEST, 1, 1e39)},
        r"^row 1 of x_test of mine .* no finite number in float32: mend or",
    ),
    "huge tensor": (
        {"x_test": torch.full((4, 2), 1e39, dtype=torch.float64)},
        r"^row 0 of x_test of mine .* in float32",
    ),
    "negative": (
        {"y_train": with_value(Y_TRAIN, 3, -1)},
        r"^row 3 of y_train of mine is -1: labels are whole numbers fro",
    ),
    "ignored": (
        {"y_train": with_value(Y_TRAIN, 5, -100)},
        r"^row 5 of y_train of mine is -100: labels are whole numbers",
    ),
    "ignored tensor": (
        {"y_test": torch.tensor([0, 1, -100, 2])},
        r"^row 2 of y_test of mine is -100: labels are whole",
    ),
    "too large": (
        {"y_test": [0, 1, 2, 3], "classes": 3},
        r"^row 3 of y_test of mine is 3: .* whole numbers from 0 to 2$",
    ),
    "beyond int64": (
        {"y_test": np.full(4, 2**63, np.uint64)},
        r"^row 0 of y_test of mine is 9223372036854775808: labels",
    ),
    "beyond all": ({"y_test": [0, 1, 2, 2**70]}, r"^y_test of mine is of type object: give real numbers$"),
    "half": ({"y_train": with_value(Y_TRAIN, 1, 0.5)}, r"^row 1 of y_train of mine is 0.5: labels are whole numbers"),
    "nan label": ({"y_train": with_value(Y_TRAIN, 1, np.nan)}, r"^row 1 of y_train of mine is nan: labels are whole"),
    "half tensor": (
        {"y_test": torch.tensor([0.0, 1.0, 1.5, 2.0])},
        r"^row 2 of y_test of mine is 1.5: labels are whole",
    ),
    "names": ({"y_test": ["cat", "dog", "cat", "dog"]}, r"^y_test of mine is of type <U3: give real numbers$"),
    "one-hot": (
        {"y_train": np.eye(3)[Y_TRAIN]},
        r"^y_train of mine must be \(rows,\), .* got shape \(6, 3\): argmax\(1\)",
    ),
    "column": (
        {"y_train": Y_TRAIN[:, None]},
        r"^y_train of mine must be \(rows,\), .* got shape \(6, 1\): reshape\(-1\)",
    ),
    "column tensor": ({"y_train": torch.tensor(Y_TRAIN)[:, None]}, r"^y_train of mine must be \(rows,\)"),
    "one class": ({"classes": 1}, r"^classes of mine must be a whole number >= 2, got 1$"),
    "half a class": ({"classes": 2.5}, r"^classes of mine must be a whole number >= 2, got 2.5$"),
    "truth as classes": ({"classes": True}, r"^classes of mine must be a whole number >= 2, got True$"),
}


def refused(sentence, act, kind=ValueError):
    with pytest.raises(kind, match=sentence) as error:
        act()
    assert "\n" not in str(error.value)


@pytest.fixture
def untrainable(monkeypatch):
    def fail(*_):
        raise AssertionError("training began")

    monkeypatch.setattr(queue, "_together", fail)


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_data_set_is_refused_in_one_sentence(kind):
    changes, sentence = BAD[kind]
    refused(sentence, lambda: made(**changes))


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.usefixtures("untrainable")
def test_a_data_set_made_by_hand_is_held_to_the_same_before_any_training(kind):
    changes, sentence = BAD[kind]
    dataset = by_hand(**changes)
    refused(sentence, lambda: train(RUN, data={"mine": dataset}, progress=False))
    refused(sentence, lambda: list(trainer.outcomes([RUN], data={"mine": dataset}, progress=False)))
    refused(sentence, lambda: dataset.id)


@pytest.mark.parametrize(
    "name", [1, None, "", "a/b", "a\\b", "a@b", "a b", ".hidden", "-a", "x.npz", "a\n", "é", "n" * 101]
)
def test_a_name_that_cannot_be_one_is_refused_at_every_door(name):
    sentence = r"^a data set cannot be called "
    pairs = TensorDataset(torch.tensor(X_TRAIN), torch.tensor(Y_TRAIN))
    refused(sentence, lambda: made(name))
    refused(sentence, lambda: from_torch(name, pairs, pairs))
    refused(sentence, lambda: from_csv(name, "nowhere", "nowhere", label="y"))
    refused(sentence, lambda: train(RUN, data={name: by_hand()}))


@pytest.mark.parametrize("name", datasets.NAMES)
def test_a_published_name_is_not_taken_by_another_data_set(name):
    refused(rf"^{name} is a published data set: call yours something else, such as 'my-{name}'$", lambda: made(name))


# torch's data sets


class Rows(TorchDataset):
    """A map-style data set with a transform, which gives the same memory again and again."""

    def __init__(self, x, y, transform=lambda x: x):
        self.x, self.y, self.transform, self.room = x, y, transform, torch.empty(2)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        if row >= len(self.x):
            raise IndexError(row)
        self.room[:] = torch.tensor(self.x[row])
        return self.transform(self.room), self.y[row]


class Stream(IterableDataset):
    def __init__(self, pairs):
        self.pairs = pairs

    def __iter__(self):
        return iter(self.pairs)


def tensors(split):
    x, y = (X_TRAIN, Y_TRAIN) if split == "train" else (X_TEST, Y_TEST)
    return TensorDataset(torch.tensor(x), torch.tensor(y))


TORCH = {
    "tensors": tensors,
    "transformed": lambda split: Rows(*(t.numpy() for t in tensors(split).tensors)),
    "subset": lambda split: Subset(tensors(split), range(len(tensors(split)))),
    "stream": lambda split: Stream(list(tensors(split))),
    "list": lambda split: [(x.numpy(), int(y)) for x, y in tensors(split)],
    "lists": lambda split: [[x.tolist(), float(y)] for x, y in tensors(split)],
}


@pytest.mark.parametrize("kind", TORCH)
def test_torchs_data_sets_of_every_kind_give_the_same_data_set(kind):
    dataset = from_torch("mine", TORCH[kind]("train"), TORCH[kind]("test"))
    assert contents(dataset) == contents(made())
    assert dataset.id == made().id


def test_transforms_are_applied():
    doubled = [Rows(x, y, lambda x: 2 * x.reshape(2, 1)) for x, y in ((X_TRAIN, Y_TRAIN), (X_TEST, Y_TEST))]
    dataset = from_torch("mine", *doubled, classes=5)
    assert torch.equal(dataset.x_train, torch.tensor(2 * X_TRAIN, dtype=torch.float32).unsqueeze(2))
    assert dataset.classes == 5


class Picture:
    """Something that is no array."""


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], r"^train of mine has no rows"),
        (TensorDataset(torch.ones(0, 2), torch.ones(0)), r"^x_train of mine is empty"),
        ([(X_TRAIN[0], 0), X_TRAIN[1]], r"^row 1 of train of mine is a ndarray, not a pair of input and label$"),
        ([(X_TRAIN[0], 0, 1)], r"^row 0 of train of mine is a tuple, not a pair"),
        ([{"x": 1}], r"^row 0 of train of mine is a dict, not a pair"),
        (TensorDataset(torch.ones(3, 2)), r"^row 0 of train of mine is a tuple, not a pair"),
        (
            [(X_TRAIN[0], 0), (X_TRAIN[0, :1], 0)],
            r"^the input in row 1 of train of mine is of shape \(1,\), but that in",
        ),
        ([(X_TRAIN[0], 0), (X_TRAIN[0], [1])], r"^the label in row 1 of train of mine is of shape \(1,\), but that in"),
        ([(X_TRAIN[0], "cat")], r"^the label in row 0 of train of mine is of type <U3: give real numbers$"),
        ([(Picture(), 0)], r"^the input in row 0 of train of mine is of type Picture: .* such as torchvision"),
        (DataLoader(tensors("train")), r"^train of mine is a DataLoader, which gives batches: give its .dataset$"),
    ],
)
def test_a_torch_data_set_that_gives_no_pairs_is_refused(rows, sentence):
    refused(sentence, lambda: from_torch("mine", rows, tensors("test")))
    refused(sentence.replace("train", "test"), lambda: from_torch("mine", tensors("train"), rows))


def test_what_is_no_torch_data_set_is_refused():
    refused(r"^train of mine is a int: give a torch", lambda: from_torch("mine", 3, tensors("test")), TypeError)


# CSV files


def written(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


GOOD_CSV = "a,kind,b\n" + "".join(f"{x},{y},{z}\n" for (x, z), y in zip(X_TRAIN, Y_TRAIN, strict=True))
TEST_CSV = "kind,b,a\n" + "".join(f"{y},{z},{x}\n" for (x, z), y in zip(X_TEST, Y_TEST, strict=True))


def test_csv_files_give_the_same_data_set_whatever_the_order_of_their_columns(tmp_path):
    paths = written(tmp_path, "train.csv", GOOD_CSV), written(tmp_path, "test.csv", TEST_CSV)
    assert contents(from_csv("mine", *paths, label="kind")) == contents(made())
    assert from_csv("mine", *map(str, paths), label="kind", classes=4).classes == 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"train.csv is not a readable CSV file: No columns"),
        ('a,kind\n"1,0\n', r"train.csv is not a readable CSV file: "),
        ("a,b,kind\n1,2,0,9\n1,2,0\n1,2,3,4,5,6\n", r"train.csv is not a readable CSV file: "),
        ("a,b,kind\n1,2,0,1\n", r"train.csv has rows of more values than its header has names: give each"),
        ("a,b,kind,kind\n1,2,0,0\n", r"train.csv has two columns 'kind': give each column a name of its own$"),
        ("a,b\n1,2\n", r"train.csv has no column 'kind' of labels: it has a, b$"),
        ("a,c,kind\n1,2,0\n", r"train.csv and .*test.csv do not have the same columns: only one of them has b, c$"),
        ("a,b,kind\n1,x,0\n", r"row 0 of .*train.csv is 'x' in column b: give numbers alone$"),
        ("a,b,kind\n1,2,0\n1,2,cat\n", r"row 1 of .*train.csv is 'cat' in column kind: give numbers alone$"),
        ("a,b,kind\n1,2,0\n1,,0\n", r"row 1 of .*train.csv is empty in column b: fill it or leave the row out$"),
        ("a,b,kind\n1,2,0\n1,2,\n", r"row 1 of .*train.csv is empty in column kind"),
        (",a,b,kind\n0,1,2,0\n", r"train.csv has a column without a name, as an index has"),
        ("a,b,kind\n", r"train.csv has no rows: give at least one$"),
        ("a,b,kind\n1,inf,0\n", r"row 0 of x_train of mine holds a value that is no finite"),
        ("a,b,kind\n1,2,-1\n", r"row 0 of y_train of mine is -1"),
    ],
)
def test_a_csv_file_that_is_no_table_of_numbers_is_refused(text, sentence, tmp_path):
    paths = written(tmp_path, "train.csv", text), written(tmp_path, "test.csv", TEST_CSV)
    refused(sentence, lambda: from_csv("mine", *paths, label="kind"))


@pytest.mark.parametrize("label", [["kind"], 2, None, {}])
def test_a_label_that_is_no_name_of_a_column_is_refused(label, tmp_path):
    path = written(tmp_path, "train.csv", GOOD_CSV)
    with pytest.raises(TypeError, match=r"^label= is the name of the column of labels, not a \w+$"):
        from_csv("mine", path, path, label=label)


def test_csv_files_that_are_not_there_or_no_text_are_named(tmp_path):
    here = written(tmp_path, "test.csv", "kind\n0\n")
    refused(
        r"there is no file .*absent.csv", lambda: from_csv("mine", tmp_path / "absent.csv", here, label="kind"), OSError
    )
    refused(r"test.csv has no column but the labels: give", lambda: from_csv("mine", here, here, label="kind"))
    here.write_bytes(b"\xff\xfe\x00kind")
    refused(r"test.csv is not a readable CSV file", lambda: from_csv("mine", here, here, label="kind"))


# archives


def archive(path, **changes):
    values = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    np.savez(path, **values)
    return path


def test_an_archive_is_called_after_its_file_and_may_say_its_classes(tmp_path):
    assert contents(from_npz(archive(tmp_path / "mine.npz"))) == contents(made())
    assert from_npz(tmp_path / "mine.npz").id == made().id
    assert from_npz(str(archive(tmp_path / "mine.npz", classes=7))).classes == 7
    assert from_npz(archive(tmp_path / "mine.npz", classes=np.array([7]))).classes == 7


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"y_test": None}, r"/mine.npz: it does not hold y_test$"),
        ({"classes": np.array([])}, r"/mine.npz: classes must be one whole number, got 0$"),
        ({"clases": 3}, r"/mine.npz: it holds clases too: keep x_train, y_train, x_test, y_test and classes alone$"),
        ({"x_train": np.array([object()])}, r"/mine.npz: it is not a NumPy archive of plain arrays$"),
        ({"y_train": Y_TRAIN - 1}, r"/mine.npz: row 0 of y_train of mine is -1"),
        ({"classes": 2}, r"/mine.npz: row 2 of y_train of mine is 2: labels are whole numbers from 0 to 1$"),
        ({"classes": np.array([2, 3])}, r"/mine.npz: "),
        ({"classes": "three"}, r"/mine.npz: classes of mine must be a whole number >= 2, got 'three'$"),
    ],
)
def test_an_archive_that_is_no_data_set_is_refused_by_name(changes, sentence, tmp_path):
    path = archive(tmp_path / "mine.npz", **changes)
    refused(sentence, lambda: from_npz(path))
    refused(sentence, lambda: train(Run(dataset=str(path), max_steps=1), progress=False))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04" + bytes(40)])
def test_a_file_that_is_no_archive_is_refused_by_name(content, tmp_path):
    (tmp_path / "mine.npz").write_bytes(content)
    refused(r"/mine.npz: it is not a NumPy archive", lambda: from_npz(tmp_path / "mine.npz"))
    np.save(tmp_path / "one.npy", X_TRAIN)
    (tmp_path / "one.npy").rename(tmp_path / "mine.npz")
    refused(r"/mine.npz: it is not a NumPy archive", lambda: from_npz(tmp_path / "mine.npz"))


def test_an_archive_that_is_not_there_or_cannot_be_called_so_is_refused(tmp_path):
    refused(r"there is no file .*/absent.npz", lambda: from_npz(tmp_path / "absent.npz"), FileNotFoundError)
    refused(r"/my data.npz: a data set cannot be called 'my data'", lambda: from_npz(archive(tmp_path / "my data.npz")))


# identity


def test_the_digest_tells_every_difference_apart_and_does_not_change():
    """If this fails, stored runs no longer belong to the data that made them."""
    assert made().id == "mine@fa606a51dac3"
    different = [
        made(),
        made("other"),
        made(x_train=with_value(X_TRAIN, (5, 1), 0.25)),
        made(x_test=with_value(X_TEST, (0, 0), 0.25)),
        made(y_train=with_value(Y_TRAIN, 0, 1)),
        made(y_test=with_value(Y_TEST, 0, 1)),
        made(classes=4),
        made(x_train=X_TRAIN[:, :, None], x_test=X_TEST[:, :, None]),
        made(x_train=X_TRAIN[::-1].copy(), y_train=Y_TRAIN[::-1].copy()),
        made(x_train=X_TEST, y_train=Y_TEST, x_test=X_TRAIN, y_test=Y_TRAIN),
    ]
    assert len({dataset.id for dataset in different}) == len(different)
    assert all(identity.is_settled(dataset.id) for dataset in different)


def test_a_loaded_data_set_has_its_name_and_a_changed_one_a_digest():
    digits = datasets.load("digits")
    assert digits.id == "digits"
    for same in (digits.to("cpu"), pickle.loads(pickle.dumps(digits)), copy.deepcopy(digits)):
        assert same.id == "digits"
        assert same.checked().verified
    few = replace(digits, x_train=digits.x_train[:100], y_train=digits.y_train[:100])
    for other in (few, pickle.loads(pickle.dumps(few)), few.to("cpu"), few.checked(), replace(digits, classes=11)):
        assert other.id.startswith("digits@")
        assert not other.checked().verified
    digits.x_train.mul_(2)
    assert digits.id.startswith("digits@")
    assert not digits.checked().verified
    assert not pickle.loads(pickle.dumps(digits)).checked().verified


def test_data_that_is_not_official_or_grouped_otherwise_has_a_digest_where_it_is_given(tmp_path, monkeypatch):
    arrays = made_up("ecg5000")
    write_npz(tmp_path / "ecg5000.npz", arrays)
    with pytest.warns(datasets.UnofficialData):
        assert datasets.load("ecg5000", tmp_path).id.startswith("ecg5000@")
    declare_official(arrays, "ecg5000", monkeypatch)
    assert datasets.load("ecg5000", tmp_path).id == "ecg5000"
    five = datasets.load("ecg5000", tmp_path, classes=5)
    assert five.id.startswith("ecg5000@")
    assert five.checked().verified


def test_a_change_after_the_check_is_checked_again():
    dataset = made()
    assert dataset.checked() is dataset
    dataset.y_train[2] = 9
    refused(r"^row 2 of y_train of mine is 9: labels are whole numbers from 0 to 2$", lambda: dataset.id)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("label", [-1, -100, 9, 10**9])
def test_labels_that_are_changed_past_torch_are_refused_before_any_training(split, label):
    for change in (lambda y: y.numpy(), lambda y: y.data):
        dataset = made()
        change(getattr(dataset, f"y_{split}"))[1] = label
        sentence = rf"^row 1 of y_{split} of mine is {label}: labels are whole numbers from 0 to 2$"
        refused(sentence, lambda dataset=dataset: train(Run(dataset="mine", width=4), data={"mine": dataset}))


def test_what_is_no_path_and_more_classes_than_a_label_can_count_are_told():
    sentence = r"^a data set is read from the path of a file, not from a NoneType$"
    with pytest.raises(TypeError, match=sentence):
        from_npz(None)
    with pytest.raises(TypeError, match=sentence):
        from_csv("mine", None, None, label="y")
    with pytest.raises(ValueError, match=r"^classes of mine must be 2147483647 at most"):
        from_arrays("mine", [[1.0]], [0], [[1.0]], [0], classes=2**70)
