"""ECG5000 split anew: the same series from the same files, another split, and one shuffle for everybody."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from dataset_files import declare_official, made_up, write, write_npz

from heavytail.lab import datasets
from heavytail.lab.datasets import download, layouts
from heavytail.lab.datasets.arrays import Arrays, digest
from heavytail.lab.datasets.official import OFFICIAL, lookup
from heavytail.lab.datasets.splits import anew
from heavytail.lab.runs import Run
from heavytail.lab.trainer import train

NAME = "ecg5000-random"
SIZES = (500, 4500)


def load(root, name=NAME, **options):
    return datasets.load(name, root, download=False, **options)


def pool(dataset):
    """Every series with its label, as bytes, in order of bytes."""
    x, y = torch.cat([dataset.x_train, dataset.x_test]), torch.cat([dataset.y_train, dataset.y_test])
    return sorted(row.numpy().tobytes() + bytes([label]) for row, label in zip(x, y.tolist(), strict=True))


def shared(one, other):
    """How many training series two data sets have in common."""
    return len({row.numpy().tobytes() for row in one.x_train} & {row.numpy().tobytes() for row in other.x_train})


@pytest.fixture(scope="module")
def heartbeats():
    """Made-up series, as many as there are."""
    random = np.random.default_rng(0)
    splits = ((random.normal(size=(count, 140)), random.integers(1, 6, count)) for count in SIZES)
    return Arrays(*next(splits), *next(splits))


@pytest.fixture
def home(heartbeats, tmp_path, monkeypatch):
    """A data folder with made-up series that are taken for the official ones."""
    declare_official(heartbeats, "ecg5000", monkeypatch)
    write_npz(tmp_path / "ecg5000.npz", heartbeats)
    return tmp_path


# the split


def test_it_has_the_same_series_with_the_same_labels_in_another_split(home):
    plain, random = load(home, "ecg5000"), load(home)
    assert (len(random.y_train), len(random.y_test)) == SIZES
    assert pool(random) == pool(plain)
    # hypergeometric with mean 50 and standard deviation 6.4: the bounds are 5 of them away (odds below 1e-6)
    assert 18 <= shared(random, plain) <= 82
    for labels in (random.y_train, random.y_test):
        assert set(labels.tolist()) == {0, 1}


def test_five_classes_are_the_original_ones_of_the_same_split(home, heartbeats):
    two, five = load(home), load(home, classes=5)
    assert five.classes == 5
    assert torch.equal(five.x_train, two.x_train)
    assert torch.equal((five.y_test > 0).long(), two.y_test)
    original = np.concatenate([heartbeats.y_train, heartbeats.y_test]) - 1
    assert torch.cat([five.y_train, five.y_test]).bincount().tolist() == np.bincount(original).tolist()
    with pytest.raises(ValueError, match=r"ecg5000-random has 2 or 5 classes, not 3"):
        load(home, classes=3)


def test_every_series_keeps_its_own_label(home, heartbeats):
    labels = {
        row.astype(np.float32).tobytes(): label - 1
        for x, y in heartbeats.splits()
        for row, label in zip(x, y.tolist(), strict=True)
    }
    random = load(home, classes=5)
    for x, y in ((random.x_train, random.y_train), (random.x_test, random.y_test)):
        assert [labels[row.numpy().tobytes()] for row in x] == y.tolist()


def test_the_rows_come_in_one_order_whatever_the_order_of_the_file(home, heartbeats):
    random = np.random.default_rng(1)
    expected = load(home)
    (x, y), (x_test, y_test) = heartbeats.splits()
    train, test = random.permutation(len(y)), random.permutation(len(y_test))
    write_npz(home / "ecg5000.npz", Arrays(x[train], y[train], x_test[test], y_test[test]))
    loaded = load(home)
    assert loaded.verified
    assert not torch.equal(load(home, "ecg5000").x_train, torch.tensor(x, dtype=torch.float32))
    for one, other in zip(loaded.tensors(), expected.tensors(), strict=True):
        assert torch.equal(one, other)


def test_the_shuffle_is_the_one_that_was_published_and_no_random_state_changes_it(heartbeats):
    # known without the data: where the shuffle puts every row, in the order that digests give to the numbers below
    x = np.arange(5000.0)[:, None]
    arrays = Arrays(x[:500], np.ones(500, int), x[500:], np.ones(4500, int))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    split = anew(arrays, NAME)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert np.array_equal(anew(arrays, NAME).x_train, split.x_train)
    order = np.concatenate([split.x_train, split.x_test]).astype("<i4")
    assert sorted(order[:, 0].tolist()) == list(range(5000))
    assert hashlib.sha256(order.tobytes()).hexdigest()[:16] == "870327cb6575fb1f"
    assert not np.array_equal(anew(arrays, "another-name").x_train, split.x_train)


@pytest.mark.needs_data("ecg5000")
def test_the_real_heartbeats_are_split_as_in_every_committed_table():
    split = anew(layouts.locate(lookup(NAME)).read(), NAME)
    assert [digest(x, y) for x, y in split.splits()] == [
        "f496a9c305f65620425b4f4a2786651f906460d831937445931483b35c4df2d6",
        "23b8de1f6abcb0a41f75b1392c9196dd7cc1c7ab2d6c21fe115af6f19c660dac",
    ]
    loaded = datasets.load(NAME)
    assert loaded.id == NAME
    assert loaded.y_train.bincount().tolist() == [282, 218]


# what it is called


def test_official_data_is_called_by_the_name_alone_and_any_other_by_its_digest(home, heartbeats):
    random = load(home)
    assert random.verified
    assert random.id == random.name == NAME
    assert random.source == str(home / "ecg5000.npz") == load(home, "ecg5000").source
    assert load(home, classes=5).id.startswith(f"{NAME}@")
    assert replace(random, x_train=random.x_train + 1).id.startswith(f"{NAME}@")


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_changed_value_in_either_split_of_ecg5000_is_no_longer_official(split, home, heartbeats):
    changed = getattr(heartbeats, f"x_{split}").copy()
    changed[2, 70] = np.nextafter(changed[2, 70], 9)
    write_npz(home / "ecg5000.npz", replace(heartbeats, **{f"x_{split}": changed}))
    with pytest.warns(datasets.UnofficialData, match=rf"its \d+ {split} rows are not the .* official ones") as warned:
        loaded = load(home)
    assert warned[0].filename == __file__
    assert not loaded.verified
    assert loaded.id.startswith(f"{NAME}@")
    assert (len(loaded.y_train), len(loaded.y_test)) == SIZES


def test_the_same_series_split_otherwise_in_the_file_are_not_official(home, heartbeats):
    random = anew(heartbeats, NAME)
    write_npz(home / "ecg5000.npz", random)
    with pytest.warns(datasets.UnofficialData, match="train rows are not the 500 official ones and its 4500 test rows"):
        assert not load(home).verified


def test_a_run_of_it_has_a_key_of_its_own_and_is_called_so_in_a_table(home, monkeypatch):
    monkeypatch.setenv("HEAVYTAIL_DATA", str(home))
    run = Run(dataset=NAME, width=20, lr=0.01, max_steps=3)
    plain = replace(run, dataset="ecg5000")
    table = train([run, plain]).table
    assert table["status"].tolist() == ["max_steps", "max_steps"]
    assert table["dataset"].tolist() == [NAME, "ecg5000"]
    assert table["train_accuracy"].notna().all()
    assert run.key != plain.key


# the files


@pytest.mark.parametrize("layout", ["npz", "ECG5000/*.tsv", "*.txt.gz"])
def test_it_is_read_from_every_layout_of_ecg5000(layout, tmp_path, monkeypatch):
    arrays = made_up("ecg5000", rows=(40, 60))
    declare_official(arrays, "ecg5000", monkeypatch)
    write("ecg5000", layout, arrays, tmp_path, monkeypatch)
    loaded = load(tmp_path)
    assert loaded.verified
    assert datasets.find(NAME, tmp_path) == datasets.find("ecg5000", tmp_path)
    expected = anew(arrays, NAME)
    assert torch.equal(loaded.x_test, torch.tensor(expected.x_test, dtype=torch.float32))


def test_a_file_of_its_name_is_not_read(home, heartbeats):
    write_npz(home / f"{NAME}.npz", made_up("ecg5000", rows=(9, 9), seed=3))
    assert (len(load(home).y_train), len(load(home).y_test)) == SIZES


def test_a_download_fetches_and_stores_ecg5000_once_for_both(heartbeats, tmp_path, monkeypatch):
    declare_official(heartbeats, "ecg5000", monkeypatch, mirrors=("http://127.0.0.1:9/",))
    asked = []

    def sent(official, mirror, into):
        asked.append((official.name, mirror, into.parent.name.split("-")[0]))
        return heartbeats

    monkeypatch.setattr(download, "_from_mirror", sent)
    assert datasets.load(NAME, tmp_path).verified
    assert datasets.load("ecg5000", tmp_path).verified
    assert datasets.load(NAME, tmp_path).verified
    assert asked == [("ecg5000", "http://127.0.0.1:9/", ".ecg5000")]
    assert [path.name for path in tmp_path.iterdir()] == ["ecg5000.npz"]
    assert datasets.fetch(NAME, tmp_path) == tmp_path / "ecg5000.npz"


def test_who_has_no_data_is_told_of_the_files_of_ecg5000(tmp_path):
    with pytest.raises(
        datasets.DataUnavailable, match=r"^ecg5000-random is not in .*: put ECG5000_TRAIN .*, or ecg5000\.npz, into "
    ):
        load(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_status_has_a_line_of_it(home, tmp_path_factory):
    rows = {row.name: row for row in datasets.status(home)}
    assert (rows[NAME].verified, rows[NAME].note, rows[NAME].source) == (True, "official", home / "ecg5000.npz")
    (home / "ecg5000.npz").write_bytes(b"nonsense")
    assert "ecg5000.npz is damaged" in {row.name: row for row in datasets.status(home)}[NAME].note
    elsewhere = {row.name: row for row in datasets.status(tmp_path_factory.mktemp("empty"))}
    assert elsewhere[NAME].source is None


def test_nothing_that_is_split_anew_is_itself_split_anew():
    assert {name: official.of for name, official in OFFICIAL.items() if official.of} == {NAME: "ecg5000"}
    for official in OFFICIAL.values():
        assert official.base.of is None
        assert official.base.name == (official.of or official.name)
