"""Data files that lie, are cut, or are no files: one sentence, no hang, no more memory than a data set can take."""

from __future__ import annotations

import errno
import gzip
import io
import os
import random
import socket
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dataset_files import declare_official, made_up, ucr_text, write, write_idx, write_npz, write_ucr
from fault_counts import ALL, ONE_SENTENCE, UNDISTURBED, some
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heavytail import cli
from heavytail.lab import datasets
from heavytail.lab.datasets import archives, layouts, reading
from heavytail.lab.datasets.arrays import ARRAYS
from heavytail.lab.datasets.reading import Most

OURS = (ValueError, datasets.DataUnavailable)
IMAGES = layouts.IDX_FILES[0]


def outcome(act, *names):
    """What came of reading a file: a data set, or one sentence that names the file and ends in what to do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", datasets.UnofficialData)
        try:
            loaded = act()
        except OURS as error:
            said = str(error)
            assert said.isprintable(), said
            assert len(said) < 2000
            assert all(name in said for name in names), said
            return ONE_SENTENCE
    assert not loaded.verified
    return UNDISTURBED


def listing(folder):
    return sorted((str(path), path.lstat().st_size) for path in folder.rglob("*"))


# NumPy archives


def npy(header, values=b"", version=1, magic=b"\x93NUMPY", length=None):
    header = header.encode("latin1") if isinstance(header, str) else header
    form = "<H" if version == 1 else "<I"
    return magic + bytes([version, 0]) + struct.pack(form, len(header) if length is None else length) + header + values


def entry(dtype="<f8", shape="(6, 2)", order="False", more=""):
    return f"{{'descr': {dtype!r}, 'fortran_order': {order}, 'shape': {shape}, {more}}}"


def sound(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


X, Y = np.arange(12.0).reshape(6, 2) / 8, np.array([0, 1, 2, 0, 1, 2])
MEMBERS = {"x_train": sound(X), "y_train": sound(Y), "x_test": sound(X[:4]), "y_test": sound(Y[:4])}
FULL = X.tobytes()

HEADERS = {
    **{
        f"{claimed} rows": npy(entry(shape=f"({claimed}, 2)"), FULL)
        for claimed in (10**7, 10**12, 2**31, 2**32, 2**62, 2**63, 10**18, 10**19, 10**30, "9" * 4400, -1, -6, "6.0")
    },
    "nothing times everything": npy(entry(shape=f"(0, {2**62}, {2**62})")),
    "everything times nothing": npy(entry(shape=f"({10**18}, 0)")),
    "both negative": npy(entry(shape="(-6, -2)"), FULL),
    **{f"{axes} axes": npy(entry(shape=str((1,) * axes)), b"12345678") for axes in (33, 65, 255, 3000)},
    "a number as shape": npy(entry(shape="12"), FULL),
    "no shape": npy("{'descr': '<f8', 'fortran_order': False}", FULL),
    "a list as shape": npy(entry(shape="[6, 2]"), FULL),
    "no order": npy("{'descr': '<f8', 'shape': (6, 2)}", FULL),
    "no type": npy("{'fortran_order': False, 'shape': (6, 2)}", FULL),
    **{f"{deep} brackets": npy("(" * deep + ")" * deep, FULL) for deep in (90, 4000)},
    "open brackets": npy("[" * 9000, FULL),
    "nested dictionaries": npy("{1:" * 3000 + "1" + "}" * 3000, FULL),
    "minus minus": npy("-" * 9000 + "1", FULL),
    "brackets beside": npy(entry(more="'a': " + "(" * 2000 + ")" * 2000), FULL),
    "brackets in the shape": npy(entry(shape="(" * 500 + "6, 2" + ")" * 500), FULL),
    "commas": npy(entry(shape="(" + "," * 5000 + ")"), FULL),
    "blanks": npy(entry(shape="(" + " " * 9000 + "6, 2"), FULL),
    "digits and blanks": npy(entry(shape="(" + "1 " * 4000), FULL),
    "code": npy("__import__('os').mkdir('sprung')", FULL),
    "code in the shape": npy(entry(shape="(__import__('os').mkdir('sprung'), 2)"), FULL),
    "a header without an end": npy(entry(), FULL, length=65535),
    "a header of gigabytes": npy(entry(), FULL, version=2, length=2**32 - 1),
    "a large header": npy(entry() + " " * 20000, FULL),
    "an empty header": npy("", FULL),
    "a header that is no text": npy(b"\xff\xfe\x80" * 9, FULL, version=3),
    "version 9": npy(entry(), FULL, version=9),
    "other magic": npy(entry(), FULL, magic=b"\x93NUMPX"),
    "no bytes": b"",
    "half the magic": b"\x93NU",
    "no length": b"\x93NUMPY\x01\x00",
    "half a length": b"\x93NUMPY\x02\x00\x10\x00",
    "a pickle": b"cos\nmkdir\n(S'sprung'\ntR.",
    "objects": npy(entry("|O"), b"cos\nmkdir\n(S'sprung'\ntR."),
    **{
        f"type {dtype}": npy(entry(dtype), FULL)
        for dtype in ("f7", "z9", "", "<f", "V0", "|S0", "<U0", "<U999999999", "<c16", "<M8[s]", "<M8[x]", "|V8", "|S8",
                      "(1000000000,)f8", "f8,f8", "O", "<i8" * 500, "?", "\\x00")
    },
    "a structured type": npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (6, 2), }", FULL),
    "cut values": npy(entry(), FULL[:-3]),
    "values too many": npy(entry(), FULL + b"more"),
    "nan": npy(entry(), np.full_like(X, np.nan).tobytes()),
    "inf": npy(entry(), np.full_like(X, -np.inf).tobytes()),
    "huge": npy(entry(), np.full_like(X, 1e300).tobytes()),
    "bits that are no truth values": npy(entry("|b1"), bytes(range(100, 112))),
    "no rows": npy(entry(shape="(0, 2)")),
    "no columns": npy(entry(shape="(6, 0)")),
}  # fmt: skip


SOUND = ("type ?", "bits", "brackets beside", "type <i")  # with the values that they say


def zipped(path, members, packing=zipfile.ZIP_STORED):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", packing) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return path


def with_member(path, name, content, packing=zipfile.ZIP_STORED):
    members = {**MEMBERS, name: content}
    return zipped(path, {f"{name}.npy": content for name, content in members.items()}, packing)


@pytest.mark.parametrize("member", some(["x_train", "y_test"], 2))
@pytest.mark.parametrize("header", some(list(HEADERS), 3))
def test_an_array_of_ones_own_that_is_not_what_it_claims_is_refused(header, member, tmp_path, tried, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = with_member(tmp_path / "mine.npz", member, HEADERS[header])
    before = listing(tmp_path)
    came = outcome(lambda: datasets.from_npz("mine.npz"), "mine.npz")
    assert listing(tmp_path) == before  # nothing was unpacked, and no code ran
    assert came == ONE_SENTENCE or (header.startswith(SOUND) and member == "x_train")
    assert path.exists()
    tried("data files: own archives", came)


@pytest.mark.parametrize("header", some(list(HEADERS), 3))
def test_an_array_of_a_published_data_set_that_is_not_what_it_claims_is_refused(header, tmp_path, tried):
    zipped(tmp_path / "mnist.npz", {f"{name}.npy": HEADERS[header] for name in ARRAYS})
    assert outcome(lambda: datasets.load("mnist", tmp_path), "mnist.npz") == ONE_SENTENCE
    assert "mnist.npz" in datasets.status(tmp_path)[2].note
    tried("data files: published archives", ONE_SENTENCE)


def whole():
    stream = io.BytesIO()
    np.savez_compressed(stream, x_train=X, y_train=Y, x_test=X[:4], y_test=Y[:4])
    return stream.getvalue()


def replaced(old, new):
    return lambda: whole().replace(old, new)


def packed(**options):
    def content():
        stream = io.BytesIO()
        zipped(stream, {f"{name}.npy": content for name, content in MEMBERS.items()}, **options)
        return stream.getvalue()

    return content


def listed(*more):
    def content():
        stream = io.BytesIO()
        zipped(stream, [*((f"{name}.npy", content) for name, content in MEMBERS.items()), *more])
        return stream.getvalue()

    return content


ZIPS = {
    "no bytes": lambda: b"",
    "no zip": lambda: b"nonsense",
    "only an end": lambda: whole()[-22:],
    "an end that lies": lambda: whole()[:-10] + struct.pack("<II", 2**31, 2**31) + b"\0\0",
    "an end of many members": lambda: whole()[:-12] + struct.pack("<HII", 65535, 10**6, 3) + b"\0\0",
    "no directory": replaced(b"PK\x01\x02", b"PK\x09\x09"),
    "no members": replaced(b"PK\x03\x04", b"PK\x09\x09"),
    "other names inside": lambda: whole().replace(b"x_train", b"x_trail", 1),
    **{f"cut after {part} of 9": lambda part=part: whole()[: len(whole()) * part // 9] for part in range(1, 9)},
    **{f"{part} of 9 lost": lambda part=part: whole()[len(whole()) * part // 9 :] for part in range(1, 9)},
    "packed by bzip2": packed(packing=zipfile.ZIP_BZIP2),
    "packed by lzma": packed(packing=zipfile.ZIP_LZMA),
    "an unknown packing": replaced(b"PK\x01\x02\x2d\x03\x2d\0\0\0\x08\0", b"PK\x01\x02\x2d\x03\x2d\0\0\0\x63\0"),
    "locked by a password": replaced(b"PK\x01\x02\x2d\x03\x2d\0\0\0", b"PK\x01\x02\x2d\x03\x2d\0\1\0"),
    "one array twice": listed(("x_train.npy", MEMBERS["x_test"])),
    "one array with and without its ending": listed(("x_train", MEMBERS["x_test"])),
    **{
        f"a member called {name!r}": listed((name, b"out"))
        for name in ("../x_train.npy", "/etc/x", "\x1b[31m\n.npy", "C:\\x", "a/b", "é" * 2000, ".npy", "x_train/")
    },
    "ten thousand members": listed(*((f"m{number}", b"") for number in range(10_000))),
    "a wrong sum": lambda: packed()().replace(FULL, FULL[::-1], 1),
    "a tail": lambda: whole() + bytes(70_000),
}


@pytest.mark.parametrize("damage", some(list(ZIPS), 3))
def test_an_archive_whose_zip_file_lies_is_refused(damage, tmp_path, tried):
    (tmp_path / "mine.npz").write_bytes(ZIPS[damage]())
    (tmp_path / "mnist.npz").write_bytes(ZIPS[damage]())
    before = listing(tmp_path)
    assert outcome(lambda: datasets.from_npz(tmp_path / "mine.npz"), "mine.npz") == ONE_SENTENCE
    assert outcome(lambda: datasets.load("mnist", tmp_path), "mnist.npz") == ONE_SENTENCE
    assert "mnist.npz is damaged" in datasets.status(tmp_path)[2].note
    assert listing(tmp_path) == before
    tried("data files: own archives", ONE_SENTENCE)
    tried("data files: published archives", ONE_SENTENCE)


def test_what_unpacks_to_more_than_memory_has_is_refused_before_it_is_unpacked(tmp_path, tried, monkeypatch):
    monkeypatch.setattr(reading, "of_memory", lambda: Most(10**6, "of memory that this machine has"))
    bomb = npy(entry(shape="(500000, 2)"), bytes(8 * 10**6))
    path = with_member(tmp_path / "mine.npz", "x_train", bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    unpacked = []
    monkeypatch.setattr(np, "empty", lambda size, kind: unpacked.append(size))
    with pytest.raises(ValueError, match=r"mine.npz: with x_train, of 8 MB, its arrays take more than the 1 MB of mem"):
        datasets.from_npz(path)
    assert unpacked == []
    tried("data files: own archives", ONE_SENTENCE)


def test_memory_that_runs_out_is_said(tmp_path, tried, monkeypatch):
    def full(*_):
        raise MemoryError

    with_member(tmp_path / "mine.npz", "x_train", MEMBERS["x_train"])
    write_npz(tmp_path / "mnist.npz", made_up("mnist"))
    monkeypatch.setattr(archives.np, "empty", full)
    with pytest.raises(ValueError, match=r"mine.npz: it takes more memory than there is"):
        datasets.from_npz(tmp_path / "mine.npz")
    assert outcome(lambda: datasets.load("mnist", tmp_path), "mnist.npz", "memory") == ONE_SENTENCE
    tried("data files: own archives", ONE_SENTENCE)
    tried("data files: published archives", ONE_SENTENCE)


def test_an_archive_of_every_plain_form_is_read_as_numpy_reads_it(tmp_path):
    """What refuses the others must not refuse these."""
    for number, x in enumerate(
        (X, np.asfortranarray(X), X.astype(">f4"), X.astype("f2"), X.astype("i1"), X[::2, ::-1], X.reshape(6, 1, 2, 1))
    ):
        for packing in (np.savez, np.savez_compressed):
            path = tmp_path / f"mine{number}.npz"
            packing(path, x_train=x, y_train=Y[: len(x)], x_test=x, y_test=Y[: len(x)], classes=3)
            with np.load(path) as expected:
                assert np.array_equal(datasets.from_npz(path).x_train.numpy(), expected["x_train"].astype("f4"))


# the layouts of published data sets


def idx(axes, values=b"", kind=8, zeros=b"\0\0"):
    return zeros + bytes([kind, len(axes)]) + struct.pack(f">{len(axes)}I", *axes) + values


IDX = {
    **{f"{axes} axes": idx((1,) * axes, b"x") for axes in (0, 1, 2, 4, 64, 65, 255)},
    "overflowing sizes": idx((2**32 - 1,) * 3),
    "10^12 rows": idx((10**9, 1000, 1), bytes(100)),
    "nothing times everything": idx((0, 2**32 - 1, 2**32 - 1)),
    "no rows": idx((0, 28, 28)),
    "no pixels": idx((7, 0, 28)),
    "a value too few": idx((2, 28, 28), bytes(2 * 784 - 1)),
    "a value too many": idx((2, 28, 28), bytes(2 * 784 + 1)),
    "pictures of another size": idx((2, 28, 27), bytes(2 * 28 * 27)),
    "fewer pictures than labels": idx((2, 28, 28), bytes(2 * 784)),
    "floats": idx((7, 28, 28), bytes(4 * 7 * 784), kind=13),
    "an unknown type": idx((7, 28, 28), bytes(7 * 784), kind=0),
    "other magic": idx((7, 28, 28), bytes(7 * 784), zeros=b"PK"),
    **{f"{cut} bytes": idx((7, 28, 28), bytes(7 * 784))[:cut] for cut in (0, 1, 3, 4, 7, 15, 16)},
    "more than MNIST can have": idx((10_000, 28, 28), bytes(784 * 10_000)),
    "a web page": b"<!doctype html><html>moved</html>",
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("damage", some(list(IDX), 2))
def test_pictures_that_are_not_what_they_claim_are_refused(damage, suffix, tmp_path, tried, monkeypatch):
    arrays = made_up("mnist")
    declare_official(arrays, "mnist", monkeypatch)  # of 12 rows, so that megabytes are too much
    hit = write_idx(tmp_path / "MNIST" / "raw", arrays, suffix)[0]
    hit.write_bytes(gzip.compress(IDX[damage], 1) if suffix else IDX[damage])
    assert outcome(lambda: datasets.load("mnist", tmp_path), hit.name) == ONE_SENTENCE
    assert hit.name in datasets.status(tmp_path)[2].note
    tried("data files: published layouts", ONE_SENTENCE)


HEART = "1" + "\t0.5" * 140 + "\n"

TEXTS = {
    "no bytes": b"",
    "blanks": b"  \n\t\n\r\n",
    "no numbers": b"<html>moved</html>\n",
    "labels alone": b"1\n2\n",
    "a column too few": b"1" + b"\t0.5" * 139 + b"\n",
    "a column too many": b"1" + b"\t0.5" * 141 + b"\n",
    "a ragged row": HEART.encode() + b"1\t2\n",
    **{
        f"a value of {value!r}": HEART.replace("0.5", value, 1).encode()
        for value in ("nan", "inf", "-inf", "1e400", "1e39", "0x1p3", "1+2j", "1_000", "", "?", "'0.5'", "1,5", "é",
                      "0" * 100_000 + "x", "\x1b[31m", "9" * 5000)
    },
    **{
        f"a label of {label!r}": HEART.replace("1", label, 1).encode()
        for label in ("0", "6", "-1", "1.5", "nan", "inf", "1e300", str(2**63), str(2**31), "true", ":1")
    },
    "NUL bytes": HEART.encode().replace(b"\t", b"\0"),
    "a NUL byte in a number": HEART.replace("0.5", "0\0005", 1).encode(),
    "only NUL bytes": bytes(5000),
    "UTF-16": HEART.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + HEART.encode(),
    "a line of 100 000 values": b"1" + b"\t0" * 100_000,
    "100 000 lines": b"1\n" * 100_000,
    "100 000 comments": b"#\n" * 100_000 + HEART.encode(),
    "many megabytes": HEART.encode() * 3000,
    "form feeds": HEART.encode().replace(b"\t", b"\f"),
    "commas alone": b",,,,\n" * 5,
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".tsv", ".ts.gz"])
@pytest.mark.parametrize("damage", some(list(TEXTS), 2))
def test_text_that_is_no_table_of_heartbeats_is_refused(damage, suffix, tmp_path, tried, monkeypatch):
    arrays = made_up("ecg5000")
    declare_official(arrays, "ecg5000", monkeypatch)
    hit = write_ucr(tmp_path, f"ECG5000/*{suffix}", arrays)[0]
    hit.write_bytes(gzip.compress(TEXTS[damage], 1) if suffix.endswith("gz") else TEXTS[damage])
    came = outcome(lambda: datasets.load("ecg5000", tmp_path), hit.name)
    assert came == ONE_SENTENCE or damage == "form feeds" or (damage.startswith("a value") and suffix == ".ts.gz")
    tried("data files: published layouts", came)


GZIPS = {
    "no bytes": lambda whole: b"",
    "no gzip": lambda whole: b"nonsense",
    "the magic alone": lambda whole: b"\x1f\x8b",
    "a name without an end": lambda whole: whole[:3] + b"\x08" + whole[4:10] + b"a" * 5000,
    "an extra field without an end": lambda whole: whole[:3] + b"\x04" + whole[4:10] + b"\xff\xff" + b"a" * 500,
    "an unknown packing": lambda whole: whole[:2] + b"\x09" + whole[3:],
    **{f"cut after {part} of 5": lambda whole, part=part: whole[: len(whole) * part // 5] for part in range(1, 5)},
    "no sum": lambda whole: whole[:-8],
    "a wrong sum": lambda whole: whole[:-8] + bytes(8),
    "garbled": lambda whole: whole[:12] + b"\xff" * 10 + whole[22:],
    "a tail": lambda whole: whole + b"tail",
    "a second part that is cut": lambda whole: whole + whole[:-9],
    "a bomb": lambda whole: gzip.compress(bytes(8 * 10**6), 9),
    "many bombs": lambda whole: gzip.compress(bytes(10**6), 9) * 20,
    "a bomb after the data": lambda whole: whole + gzip.compress(bytes(8 * 10**6), 9),
}


@pytest.mark.parametrize("name", ["mnist", "ecg5000"])
@pytest.mark.parametrize("damage", some(list(GZIPS), 2))
def test_what_does_not_unpack_or_unpacks_without_an_end_is_refused(damage, name, tmp_path, tried, monkeypatch):
    arrays = made_up(name)
    declare_official(arrays, name, monkeypatch)
    hit = write(name, {"mnist": "idx.gz", "ecg5000": "*.txt.gz"}[name], arrays, tmp_path, monkeypatch)[1]
    hit.write_bytes(GZIPS[damage](hit.read_bytes()))
    assert outcome(lambda: datasets.load(name, tmp_path), hit.name) == ONE_SENTENCE
    if "bomb" in damage:
        row = datasets.status(tmp_path)[datasets.NAMES.index(name)]
        assert f"it unpacks to more than the 1 MB that a file of {name} can hold" in row.note
    tried("data files: published layouts", ONE_SENTENCE)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("layout", [("mnist", "npz"), ("mnist", "idx"), ("cifar10", "npz"), ("ecg5000", "npz"),
                                    ("ecg5000", "*.tsv")], ids=str)  # fmt: skip
def test_a_published_split_without_rows_is_refused(layout, split, tmp_path, tried, monkeypatch):
    arrays = made_up(layout[0], rows=(0, 5) if split == "train" else (7, 0))
    write(*layout, arrays, tmp_path, monkeypatch)
    assert outcome(lambda: datasets.load(layout[0], tmp_path), str(tmp_path)) == ONE_SENTENCE
    tried("data files: empty splits", ONE_SENTENCE)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_of_ones_own_without_rows_is_refused(split, tmp_path, tried):
    import torch
    from torch.utils.data import TensorDataset

    rows = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}
    rows |= {f"x_{split}": X[:0], f"y_{split}": Y[:0]}
    pairs = [TensorDataset(torch.tensor(rows[f"x_{s}"]), torch.tensor(rows[f"y_{s}"])) for s in ("train", "test")]
    for part in ("train", "test"):
        header = "a,kind\n" + ("" if part == split else "1,0\n2,1\n")
        (tmp_path / f"{part}.csv").write_text(header)
    np.savez(tmp_path / "mine.npz", **rows)
    for act, words in (
        (lambda: datasets.from_arrays("mine", *rows.values()), f"x_{split} of mine is empty"),
        (lambda: datasets.from_torch("mine", *pairs), f"x_{split} of mine is empty"),
        (lambda: datasets.from_torch("mine", *map(list, pairs)), f"{split} of mine has no rows"),
        (lambda: datasets.from_npz(tmp_path / "mine.npz"), f"mine.npz: x_{split} of mine is empty"),
        (
            lambda: datasets.from_csv("mine", tmp_path / "train.csv", tmp_path / "test.csv", label="kind"),
            f"{split}.csv has no rows",
        ),
    ):
        assert outcome(act, words) == ONE_SENTENCE
        tried("data files: empty splits", ONE_SENTENCE)


# CSV files

TABLE = b"a,kind\n1,0\n2,1\n"
CSV = {
    "no bytes": b"",
    "blanks": b"\n\n \n",
    "a NUL byte": TABLE.replace(b"2", b"\0"),
    "NUL bytes alone": bytes(3000),
    "UTF-16": TABLE.decode().encode("utf-16"),
    "UTF-16 alone": b"\xff\xfe",
    "no UTF-8": b"a,kind\n\xff,0\n",
    "an open quote": b'a,kind\n"1,0\n',
    "a quoted comma": b'a,kind\n"1,5",0\n',
    "a ragged row": TABLE + b"1,2,3\n",
    "a short row": TABLE + b"1\n",
    "no labels": b"a,b\n1,2\n",
    "labels alone": b"kind\n1\n",
    "a nameless column": b",kind\n1,0\n",
    "a column twice": b"a,a,kind\n1,1,0\n",
    "a web page": b"<html>\n<p>moved,kind</p>\n",
    **{
        f"a value of {str(value)[:9]!a}": b"a,kind\n" + value.encode() + b",0\n2,1\n"
        for value in ("nan", "inf", "1e400", "9" * 400, "-" + "9" * 5000, "x" * 100_000, "0x10", "1+2j", "1_0", "True",
                      "\x1b[31m", "2020-01-01", "", "é", "1e39", '""', "=1+1")
    },
    **{
        f"a label of {value}": f"a,kind\n1,{value}\n2,1\n".encode()
        for value in ("-1", "0.5", "nan", "inf", "1e300", 2**63, 2**64, 10**30, "cat", "")
    },
    "10 000 columns": b",".join(b"c%d" % n for n in range(10_000)) + b",kind\n" + b"1," * 10_000 + b"x\n",
    "a line of a megabyte": b"a,kind\n" + b"1" * 10**6 + b",0\n",
    "a header of a megabyte": b"a" * 10**6 + b",kind\nx,0\n",
    "CR alone": b"a,kind\r1,0\rx,1\r",
    "a Parquet file": b"PAR1" + bytes(40) + b"PAR1",
}  # fmt: skip
FINE = ("a value of 'True'", "a value of '1e39'")  # the second is refused for its size


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("damage", some(list(CSV), 3))
def test_a_csv_file_that_is_no_table_of_numbers_is_refused(damage, packed, tmp_path, tried):
    good, bad = tmp_path / "good.csv", tmp_path / f"bad.csv{packed}"
    good.write_bytes(TABLE)
    bad.write_bytes(gzip.compress(CSV[damage]) if packed else CSV[damage])
    came = outcome(lambda: datasets.from_csv("mine", good, bad, label="kind"))
    assert came == ONE_SENTENCE or damage in FINE
    tried("data files: own CSV", came)


@pytest.mark.parametrize("ending", [".zip", ".bz2", ".xz", ".zst", ".tar", ".gz"])
def test_a_packed_csv_file_is_unpacked_within_a_bound_or_not_at_all(ending, tmp_path, tried, monkeypatch):
    monkeypatch.setattr(reading, "of_memory", lambda: Most(10**6, "of memory that this machine has"))
    path = tmp_path / f"bad.csv{ending}"
    path.write_bytes(gzip.compress(b"a,kind\n" + b"0" * 8 * 10**6, 9))
    words = ("bad.csv.gz", "more than the 1 MB of memory") if ending == ".gz" else (f"bad.csv{ending} is packed",)
    assert outcome(lambda: datasets.from_csv("mine", path, path, label="kind"), *words) == ONE_SENTENCE
    tried("data files: own CSV", ONE_SENTENCE)


# what is no file


def a_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # the whole path may be too long for one
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(here)


def of_a_terabyte(path):
    with open(path, "wb") as file:
        file.truncate(10**12)  # takes no room on the disk


KINDS = {
    "folder": (Path.mkdir, "it is a folder, not a file"),
    "FIFO": (os.mkfifo, "it is a FIFO, not a file"),
    "socket": (a_socket, "it is a socket, not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
    "link to itself": (lambda path: path.symlink_to(path.name), "it is a link to itself"),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "it is a link to nothing"),
    "terabyte": (of_a_terabyte, "it is of 1 TB, more than the "),
}
BATCH = "cifar-10-batches-py/data_batch_1"
PLACES = {
    "mnist.npz": "mnist",
    "cifar100.npz": "cifar100",
    f"MNIST/raw/{IMAGES}": "mnist",
    f"MNIST/raw/{IMAGES}.gz": "mnist",
    "ECG5000/ECG5000_TRAIN.tsv": "ecg5000",
    "ECG5000_TRAIN.ts.gz": "ecg5000",
    BATCH: "cifar10",
}


@pytest.mark.parametrize("place", some(list(PLACES), 2))
@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_in_the_place_of_a_file_and_is_none_is_named_and_not_opened(kind, place, tmp_path, tried, capsys):
    name, hit = PLACES[place], tmp_path / place
    hit.parent.mkdir(parents=True, exist_ok=True)
    if place.startswith("ECG"):  # its companion
        (hit.parent / "ECG5000_TEST.tsv").write_text(HEART)
    if place.startswith("MNIST"):
        write_idx(hit.parent, made_up("mnist"))[0].unlink()
    make, words = KINDS[kind]
    make(hit)
    assert outcome(lambda: datasets.load(name, tmp_path), str(hit), words) == ONE_SENTENCE
    assert datasets.find(name, tmp_path) is not None
    assert cli.main(["data", "--root", str(tmp_path)]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{name}:")]
    assert str(hit) in row
    assert words in row
    tried("data files: no files", ONE_SENTENCE)


@pytest.mark.parametrize("form", ["npz", "csv", "csv.gz"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_no_data_set_of_ones_own(kind, form, tmp_path, tried, monkeypatch):
    monkeypatch.setattr(reading, "of_memory", lambda: Most(10**10, "of memory that this machine has"))
    hit = tmp_path / f"mine.{form}"
    make, words = KINDS[kind]
    make(hit)
    if form == "npz":
        act = lambda: datasets.from_npz(hit)  # noqa: E731
    else:
        act = lambda: datasets.from_csv("mine", hit, hit, label="kind")  # noqa: E731
    assert outcome(act, str(hit), words) == ONE_SENTENCE
    tried("data files: no files", ONE_SENTENCE)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path.name), lambda path: path.touch()])
@pytest.mark.parametrize("place", ["cifar-10-batches-py", "MNIST", "ECG5000"])
def test_what_stands_in_the_place_of_a_folder_is_no_trap(make, place, tmp_path, tried):
    make(tmp_path / place)
    name = {"c": "cifar10", "M": "mnist", "E": "ecg5000"}[place[0]]
    assert outcome(lambda: datasets.load(name, tmp_path, download=False), str(tmp_path)) == ONE_SENTENCE
    assert [row.name for row in datasets.status(tmp_path)] == list(datasets.NAMES)
    tried("data files: no files", ONE_SENTENCE)


ERRORS = [errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.EMFILE, errno.ENODEV]


@pytest.mark.parametrize("call", ["lstat", "stat", "open"])
@pytest.mark.parametrize("number", some(ERRORS, 2))
def test_a_folder_or_file_that_one_may_not_look_at_is_named(number, call, tmp_path, tried, monkeypatch, capsys):
    write_npz(tmp_path / "mnist.npz", made_up("mnist"))
    write_npz(tmp_path / "mine.npz", made_up("mnist"))
    (tmp_path / "a.csv").write_bytes(TABLE)
    real = getattr(os, call)

    def refusing(path, *more, **options):
        if Path(os.fsdecode(path)).parent == tmp_path:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *more, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refusing)
        words = os.strerror(number)
        assert outcome(lambda: datasets.load("mnist", tmp_path), str(tmp_path), words) == ONE_SENTENCE
        assert outcome(lambda: datasets.from_npz(tmp_path / "mine.npz"), "mine.npz", words) == ONE_SENTENCE
        csv = lambda: datasets.from_csv("mine", tmp_path / "a.csv", tmp_path / "a.csv", label="kind")  # noqa: E731
        assert outcome(csv, "a.csv", words) == ONE_SENTENCE
        assert cli.main(["data", "--root", str(tmp_path)]) == 0
    assert words in capsys.readouterr().out
    for _ in range(3):
        tried("data files: folders", ONE_SENTENCE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_locked_folder_is_named(tmp_path, tried, capsys):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0)
    try:
        assert outcome(lambda: datasets.load("mnist", locked), str(locked), "Permission denied") == ONE_SENTENCE
        assert cli.main(["data", "--root", str(locked)]) == 0
    finally:
        locked.chmod(0o700)
    assert "Permission denied" in capsys.readouterr().out
    tried("data files: folders", ONE_SENTENCE)


@pytest.mark.parametrize("root", ["\0", "a\0b", "~nobody-is-called-so/data", "a" * 300, "b/" * 3000, "/dev/null"])
def test_a_name_that_no_folder_can_have_is_one_sentence_in_every_line(root, tried, monkeypatch):
    rows = datasets.status(root)
    assert rows[0].verified
    assert all(row.source is None and row.note for row in rows[1:])
    assert outcome(lambda: datasets.load("mnist", root, download=False), "mnist" if root[0] != "~" else root).strip()
    if "\0" not in root:
        monkeypatch.setenv("HEAVYTAIL_DATA", root)
        assert all("HEAVYTAIL_DATA" in row.note or root in row.note for row in datasets.status()[1:])
    tried("data files: folders", ONE_SENTENCE)


# whatever bytes stand there

FILES = {
    "mnist": ("mnist.npz", *(f"MNIST/raw/{file}{end}" for file in layouts.IDX_FILES for end in ("", ".gz"))),
    "ecg5000": ("ecg5000.npz", *(f"{split}{end}" for split in layouts.UCR_SPLITS for end in layouts.UCR_SUFFIXES)),
    "cifar10": ("cifar10.npz", BATCH, "cifar-10-batches-py/batches.meta"),
}
small = made_up("ecg5000", rows=(2, 2))
SEEDS = [
    whole(),
    packed()(),
    gzip.compress(idx((2, 28, 28), bytes(2 * 784)), 1),
    idx((2,), b"\1\2"),
    *(ucr_text(small.x_train, small.y_train, suffix).encode() for suffix in (".tsv", ".txt", ".ts")),
    TABLE,
]
EXAMPLES = 300 if ALL else 60


@st.composite
def damaged(draw):
    """A sound file with parts cut out, doubled, or written over."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, max(0, len(content) - 1)))
        end = start + draw(st.integers(0, 40))
        content[start:end] = draw(st.one_of(st.binary(max_size=12), st.just(bytes(content[start:end]) * 3)))
    return bytes(content)


headers = st.builds(
    lambda dtype, shape, order, values: npy(entry(dtype, shape, order), values),
    st.sampled_from(["<f8", "|u1", "<i8", "|O", "<U3", "?", ">f2"]) | st.text(max_size=6).filter(str.isascii),
    st.lists(st.integers(-3, 10) | st.integers(-(2**70), 2**70), max_size=5).map(lambda axes: str(tuple(axes))),
    st.sampled_from(["True", "False", "None"]),
    st.binary(max_size=60),
)
contents = st.one_of(st.binary(max_size=300), damaged(), st.text(max_size=60).map(str.encode))
QUIET = {"max_examples": EXAMPLES, "suppress_health_check": list(HealthCheck)}


@pytest.mark.long
@settings(**QUIET)
@given(st.dictionaries(st.sampled_from([file for files in FILES.values() for file in files]), contents, max_size=4))
def test_whatever_bytes_stand_in_the_files_of_a_data_set_it_loads_unverified_or_is_refused(tmp_path_factory, files):
    home = tmp_path_factory.mktemp("bytes") / "home"
    home.mkdir()
    for file, content in files.items():
        path = home / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    before = listing(home.parent)
    for name in datasets.NAMES[1:]:
        came = outcome(lambda name=name: datasets.load(name, home, download=False))
        assert came == ONE_SENTENCE or datasets.find(name, home) is not None
    assert [row.name for row in datasets.status(home) if row.verified] == ["digits"]
    assert listing(home.parent) == before


@pytest.mark.long
@settings(**QUIET)
@given(contents, contents, st.booleans())
def test_whatever_bytes_stand_in_csv_files_they_load_or_are_refused(tmp_path_factory, train, test, packed):
    home = tmp_path_factory.mktemp("bytes")
    paths = [home / f"{split}.csv{'.gz' if packed else ''}" for split in ("train", "test")]
    for path, content in zip(paths, (train, test), strict=True):
        path.write_bytes(gzip.compress(content, 1) if packed else content)
    before = listing(home)
    assert outcome(lambda: datasets.from_csv("mine", *paths, label="kind"))
    assert listing(home) == before


@pytest.mark.long
@settings(**QUIET)
@given(st.dictionaries(st.sampled_from(ARRAYS), headers | contents, max_size=2), damaged(), st.booleans())
def test_whatever_bytes_stand_in_an_archive_it_loads_or_is_refused(tmp_path_factory, members, content, inside):
    path = tmp_path_factory.mktemp("bytes") / "mine.npz"
    if inside:
        zipped(path, {f"{name}.npy": member for name, member in {**MEMBERS, **members}.items()})
    else:
        path.write_bytes(content)
    before = listing(path.parent)
    assert outcome(lambda: datasets.from_npz(path), "mine.npz") or path
    assert listing(path.parent) == before


@pytest.mark.long
@pytest.mark.parametrize("seed", some(range(60), 10))
def test_a_sound_archive_with_flipped_bits_loads_as_it_was_or_is_refused(seed, tmp_path, tried):
    """Each member has a sum, so that a flipped bit is not taken for a value."""
    flips = random.Random(seed)
    content = bytearray(whole())
    for _ in range(flips.randint(1, 3)):
        content[flips.randrange(len(content))] ^= 1 << flips.randrange(8)
    (tmp_path / "mine.npz").write_bytes(content)
    loaded = []
    came = outcome(lambda: loaded.append(datasets.from_npz(tmp_path / "mine.npz")) or loaded[0], "mine.npz")
    if loaded:
        assert np.array_equal(loaded[0].x_train.numpy(), X.astype("f4"))
    tried("data files: own archives", came)


def test_the_bounds_leave_room_for_the_published_files_in_every_layout():
    """Rows of text take 16 to 27 characters a value, and an archive of CIFAR-100 takes 186 MB unpacked."""
    assert datasets.OFFICIAL["ecg5000"].most_bytes > 4500 * 141 * 27 * 2
    assert datasets.OFFICIAL["mnist"].most_bytes > 60_000 * 785 + 10_000 * 785
    assert datasets.OFFICIAL["cifar100"].most_bytes > 1.5 * 186_000_000
