"""Data sets on disk: every layout gives the same tensors, official data is recognised, other data says so."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from dataset_files import LAYOUTS, UCR, declare_official, made_up, put, write, write_idx, write_npz
from sklearn.datasets import load_digits

from heavytail.lab import datasets
from heavytail.lab.datasets import layouts
from heavytail.lab.datasets.arrays import Arrays, by_digest, digest, verified
from heavytail.lab.datasets.official import lookup

SHAPES = {"digits": (64,), "ecg5000": (140,), "mnist": (1, 28, 28), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32)}
SHAPES["ecg5000-random"] = SHAPES["ecg5000"]
TENSORS = ("x_train", "y_train", "x_test", "y_test")


def same(one, other):
    return all(torch.equal(getattr(one, tensor), getattr(other, tensor)) for tensor in TENSORS)


def unverified(name, root, **options):
    with pytest.warns(UserWarning, match="not the .* official ones"):
        loaded = datasets.load(name, root, **options)
    assert not loaded.verified
    return loaded


# what is loaded


def test_digits_load_offline_with_every_fifth_image_for_the_test():
    digits, (x, y) = datasets.load("digits"), load_digits(return_X_y=True)
    assert digits.verified
    assert digits.source == "scikit-learn"
    assert torch.equal(digits.x_test, torch.tensor(x[4::5] / 16, dtype=torch.float32))
    assert torch.equal(digits.y_test, torch.tensor(y[4::5]))
    assert len(digits.y_train) + len(digits.y_test) == len(y)
    assert datasets.find("digits").name == "sklearn"


def test_digits_whose_file_lies_elsewhere_are_asked_of_scikit_learn(tmp_path):
    apart, usual = layouts.digits(tmp_path), layouts.digits(datasets.find("digits"))
    assert all(np.array_equal(getattr(apart, name), getattr(usual, name)) for name in vars(usual))


@pytest.mark.parametrize("name", datasets.NAMES)
def test_shapes_types_and_label_ranges_are_as_promised(name, tmp_path):
    if name == "digits":
        loaded = datasets.load(name)
    else:
        write_npz(tmp_path / f"{lookup(name).base.name}.npz", made_up(name, rows=(400, 300)))
        loaded = unverified(name, tmp_path)
    for x, y in ((loaded.x_train, loaded.y_train), (loaded.x_test, loaded.y_test)):
        assert x.shape[1:] == SHAPES[name]
        assert x.dtype == torch.float32
        assert x.is_contiguous()
        assert y.shape == x.shape[:1]
        assert y.dtype == torch.int64
        assert y.min() >= 0
    assert loaded.y_train.max() == loaded.classes - 1


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_images_are_normalised_channel_by_channel(name, tmp_path):
    arrays, official = made_up(name), lookup(name)
    write_npz(tmp_path / f"{name}.npz", arrays)
    x = unverified(name, tmp_path).x_test
    x_test, _ = by_digest(arrays.x_test, arrays.y_test) if official.by_digest else (arrays.x_test, None)
    images = x_test.reshape(*arrays.x_test.shape[:3], -1) / 255
    for channel, (mean, std) in enumerate(zip(official.mean, official.std, strict=True)):
        expected = torch.tensor((images[..., channel] - mean) / std, dtype=torch.float32)
        torch.testing.assert_close(x[:, channel], expected)


def test_heartbeats_are_raw_and_grouped_into_two_or_five_classes(tmp_path):
    arrays = replace(made_up("ecg5000", rows=(5, 5)), y_train=np.arange(1, 6), y_test=np.arange(5, 0, -1))
    write_npz(tmp_path / "ecg5000.npz", arrays)
    two, five = unverified("ecg5000", tmp_path), unverified("ecg5000", tmp_path, classes=5)
    assert torch.equal(two.x_train, torch.tensor(arrays.x_train, dtype=torch.float32))
    assert (two.classes, two.y_train.tolist(), two.y_test.tolist()) == (2, [0, 1, 1, 1, 1], [1, 1, 1, 1, 0])
    assert (five.classes, five.y_train.tolist(), five.y_test.tolist()) == (5, [0, 1, 2, 3, 4], [4, 3, 2, 1, 0])


@pytest.mark.parametrize(("name", "classes"), [("ecg5000", 3), ("digits", 2)])
def test_a_class_count_the_data_set_does_not_have_is_refused(name, classes):
    with pytest.raises(ValueError, match=f"{name} has .* classes, not {classes}"):
        datasets.load(name, classes=classes)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no data set 'cifar': .*digits, ecg5000, mnist, cifar10, cifar100"):
        datasets.load("cifar")


def test_a_data_set_moves_to_a_device_whole():
    moved = datasets.load("digits").to("meta")
    assert all(getattr(moved, tensor).device.type == "meta" for tensor in TENSORS)
    assert moved.verified


# layouts


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_every_layout_gives_the_same_tensors_and_is_recognised_as_official(name, layout, tmp_path, monkeypatch):
    arrays = made_up(name)
    write_npz(tmp_path / "plain" / f"{name}.npz", arrays)
    expected = unverified(name, tmp_path / "plain")
    write(name, layout, arrays, tmp_path / "other", monkeypatch)
    assert same(unverified(name, tmp_path / "other"), expected)
    declare_official(arrays, name, monkeypatch)
    loaded = datasets.load(name, tmp_path / "other", download=False)
    assert loaded.verified
    assert loaded.source == str(datasets.find(name, tmp_path / "other"))


@pytest.mark.needs_data("ecg5000")
@pytest.mark.parametrize("layout", [f"*{suffix}" for suffix in UCR] + ["comma*.txt"])
@pytest.mark.long
def test_the_real_heartbeats_are_official_in_every_layout(layout, tmp_path, monkeypatch):
    write("ecg5000", layout, layouts.locate(lookup("ecg5000")).read(), tmp_path, monkeypatch)
    loaded = datasets.load("ecg5000", tmp_path)
    assert loaded.verified
    assert same(loaded, datasets.load("ecg5000"))
    assert loaded.y_train.bincount().tolist() == [292, 208]


@pytest.mark.needs_data("mnist")
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.long
def test_the_real_digits_of_mnist_are_official_packed_or_not(suffix, tmp_path):
    write_idx(tmp_path / "MNIST" / "raw", layouts.locate(lookup("mnist")).read(), suffix)
    loaded = datasets.load("mnist", tmp_path)
    assert loaded.verified
    assert abs(loaded.x_train.mean()) < 1e-3
    assert abs(loaded.x_train.std() - 1) < 1e-3


@pytest.mark.needs_data("cifar10")
@pytest.mark.needs_data("cifar100")
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.long
def test_a_part_of_the_real_cifar_images_is_told_from_all_of_them(name):
    official = lookup(name)
    arrays = layouts.locate(official).read()
    assert verified(arrays, official) == (len(arrays.y_train) == 50_000, True)


def test_the_first_layout_in_the_documented_order_is_read(tmp_path, monkeypatch):
    order = ["npz", *(layout for name, layout in LAYOUTS if name == "ecg5000" and layout[0] in "E*")]
    for seed, layout in reversed(list(enumerate(order))):
        arrays = made_up("ecg5000", seed=seed)
        write("ecg5000", layout, arrays, tmp_path, monkeypatch)
        assert torch.equal(unverified("ecg5000", tmp_path).x_test, torch.tensor(arrays.x_test, dtype=torch.float32))


# official or not


@pytest.mark.parametrize("name", ["ecg5000", "cifar10"])
def test_the_digest_is_the_one_defined_and_ignores_order_alone(name):
    x, y = made_up(name, rows=(9, 1)).splits()[0]
    rows = [row.tobytes() + bytes([label]) for row, label in zip(x, y, strict=True)]
    joined = b"".join(sorted(hashlib.sha256(row).digest() for row in rows))
    assert digest(x, y) == hashlib.sha256(joined).hexdigest()
    assert digest(x[::-1], y[::-1]) == digest(x, y)
    assert digest(x, np.where(np.arange(9) == 3, 1 + y % 5, y)) != digest(x, y)
    assert digest(x[::-1], y) != digest(x, y)


def test_the_rows_of_cifar100_are_in_one_order_whatever_the_order_of_the_file(tmp_path):
    arrays = made_up("cifar100", rows=(40, 20))
    turned = Arrays(arrays.x_train[::-1], arrays.y_train[::-1], arrays.x_test[::-1], arrays.y_test[::-1])
    loaded = []
    for folder, part in (("one", arrays), ("other", turned)):
        (tmp_path / folder).mkdir()
        write_npz(tmp_path / folder / "cifar100.npz", part)
        loaded.append(unverified("cifar100", tmp_path / folder))
    for one, other in zip(*(dataset.tensors() for dataset in loaded), strict=True):
        assert torch.equal(one, other)
    assert sorted(loaded[0].y_train.tolist()) == sorted(arrays.y_train.tolist())
    rows = zip(arrays.x_train, arrays.y_train.tolist(), strict=True)
    values = [hashlib.sha256(row.tobytes() + bytes([label])).digest() for row, label in rows]
    order = sorted(range(40), key=values.__getitem__)
    assert loaded[0].y_train.tolist() == arrays.y_train[order].tolist()


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_changed_value_is_no_longer_official(split, tmp_path, monkeypatch):
    arrays = made_up("ecg5000")
    declare_official(arrays, "ecg5000", monkeypatch)
    changed = getattr(arrays, f"x_{split}").copy()
    changed[2, 70] = np.nextafter(changed[2, 70], 9)
    write_npz(tmp_path / "ecg5000.npz", replace(arrays, **{f"x_{split}": changed}))
    with pytest.warns(UserWarning, match=f"its . {split} rows are not the") as warned:
        loaded = datasets.load("ecg5000", tmp_path)
    assert not loaded.verified
    assert warned[0].filename == __file__


# folders and states


def test_the_folder_is_the_argument_then_the_variable_then_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEAVYTAIL_DATA", str(tmp_path))
    assert datasets.folder("elsewhere").name == "elsewhere"
    assert datasets.folder() == tmp_path
    monkeypatch.setenv("HEAVYTAIL_DATA", "")
    assert datasets.folder().name == "heavytail"


def test_a_variable_that_names_no_folder_is_an_error_but_digits_still_load(tmp_path, monkeypatch):
    monkeypatch.setenv("HEAVYTAIL_DATA", str(tmp_path / "typo"))
    with pytest.raises(datasets.DataUnavailable, match=r"HEAVYTAIL_DATA names .*typo, which is no folder"):
        datasets.load("mnist")
    assert datasets.load("digits").verified
    assert "HEAVYTAIL_DATA" in datasets.status()[1].note


def test_the_status_tells_official_other_damaged_and_missing_apart(tmp_path, monkeypatch):
    heartbeats = made_up("ecg5000")
    declare_official(heartbeats, "ecg5000", monkeypatch)
    write_npz(tmp_path / "ecg5000.npz", heartbeats)
    write_npz(tmp_path / "mnist.npz", made_up("mnist"))
    put(tmp_path / "cifar10.npz", b"nonsense")
    rows = {row.name: row for row in datasets.status(tmp_path)}
    assert tuple(rows) == datasets.NAMES
    assert {name for name, row in rows.items() if row.verified} == {"digits", "ecg5000", "ecg5000-random"}
    assert (
        rows["mnist"].note
        == "its 7 train rows are not the 60000 official ones and its 5 test rows are not the 10000 official ones"
    )
    assert "cifar10.npz is damaged" in rows["cifar10"].note
    assert rows["cifar100"].source is None


def test_nothing_is_downloaded_when_that_is_not_wanted(tmp_path):
    with pytest.raises(datasets.DataUnavailable, match=r"put ECG5000_TRAIN .* ecg5000\.npz, into .*HEAVYTAIL_DATA"):
        datasets.load("ecg5000", tmp_path / "new", download=False)
    assert not (tmp_path / "new").exists()
