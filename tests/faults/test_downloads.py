"""Servers that lie, trickle, stop, or never stop; killed downloads; full disks. No test waits by the clock."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
from dataset_files import declare_official, made_up, ucr_text, write_npz
from fault_counts import ONE_SENTENCE, UNDISTURBED, some

from heavytail.lab import datasets
from heavytail.lab.datasets import download, layouts, transfer
from heavytail.lab.datasets.official import lookup
from heavytail.lab.machine import files

CLOSED = "http://127.0.0.1:9/"  # the discard port: nobody listens there
HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def serving(answers):
    """The address of a server that gives raw answers by path; an endless one is given until nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(end):
            with end:
                try:
                    asked = end.recv(65536).split(b" ")[1].decode()
                    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
                    for piece in answers(asked, base):
                        end.sendall(piece)
                except (OSError, IndexError):
                    pass  # nobody listens any more

        def accept():
            while True:
                try:
                    end, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(end,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)


def forever(piece, first=b""):
    yield first
    while True:
        yield piece


def silent(first=b""):
    """Sends no more, and waits until the other side hangs up."""
    yield first
    threading.Event().wait(240)


def redirect(to, status=b"302 Found"):
    return [b"HTTP/1.1 " + status + b"\r\nLocation: " + to + b"\r\nContent-Length: 0\r\n\r\n"]


def sized(body, said=None):
    return [HEAD + b"Content-Length: %d\r\n\r\n" % (len(body) if said is None else said) + body]


BAD = {
    # name: what is answered (of the server's own address), and what is said of it
    "nothing": (lambda base: [], "did not answer as a server of the web does"),
    "no status": (lambda base: [b"hello\r\n\r\n"], "did not answer as a server of the web does"),
    "an odd status": (lambda base: [b"HTTP/1.1 abc\r\n\r\n"], "did not answer as a server of the web does"),
    "a long status": (lambda base: [b"HTTP/1.1 " + b"9" * 70_000 + b"\r\n\r\n"], "did not answer as a server of"),
    "a long header": (lambda base: [HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n"], "did not answer as a server of"),
    "many headers": (lambda base: [HEAD + b"X: a\r\n" * 500 + b"\r\n"], "did not answer as a server of the web does"),
    "headers without an end": (lambda base: forever(b"X: a\r\n" * 99, HEAD), "did not answer as a server of the web"),
    "status 404": (lambda base: [b"HTTP/1.1 404 Not Found\r\n\r\n"], "answered with status 404"),
    "status 500": (lambda base: [b"HTTP/1.1 500 \x1b[31m\xff\r\n\r\n"], "answered with status 500"),
    "status 999": (lambda base: [b"HTTP/1.1 999 No\r\n\r\n"], "answered with status 999"),
    "a large length": (lambda base: sized(b"PK", 10**15), "offers 1 PB, more than the "),
    "more than it says": (lambda base: sized(b"PK\3\4" * 99, 20), "not a readable zip file"),
    "less than it says": (lambda base: sized(b"PK\3\4", 100_000), "ended after 4 of 100000 bytes"),
    "a length that is none": (lambda base: [HEAD + b"Content-Length: many\r\n\r\nPK"], "not a readable zip file"),
    "a length below 0": (lambda base: [HEAD + b"Content-Length: -5\r\n\r\nPK"], "not a readable zip file"),
    "a length of 5000 digits": (
        lambda base: [HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nPK"],
        "not a readable zip file",
    ),
    "bytes without an end": (lambda base: forever(bytes(65536), HEAD + b"\r\n"), "sends more than the "),
    "pieces without an end": (
        lambda base: forever(b"8000\r\n" + bytes(0x8000) + b"\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"),
        "sends more than the ",
    ),
    "a piece of no size": (
        lambda base: [HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nPK"],
        "did not answer as a server of the web does",
    ),
    "half a piece": (
        lambda base: [HEAD + b"Transfer-Encoding: chunked\r\n\r\n8000\r\nPK"],
        "did not answer as a server of the web does",
    ),
    "a web page": (lambda base: sized(b" \n<!DOCTYPE html><html>moved</html>"), "a web page in place of ECG5000.zip"),
    "another web page": (lambda base: sized(b"<HTML><body>log in</body></HTML>"), "a web page in place of ECG5000.zip"),
    "an empty file": (lambda base: sized(b""), "not a readable zip file"),
    "no content": (lambda base: [b"HTTP/1.1 204 No Content\r\n\r\n"], "not a readable zip file"),
    "a circle": (lambda base: redirect(base.encode() + b"/bad/x"), "sent us on more than 5 times"),
    "itself": (lambda base: redirect(b"/bad/ECG5000.zip", b"308 Permanent"), "sent us on more than 5 times"),
    **{
        f"a redirect to {to[:24]!r}": (lambda base, to=to: redirect(to), words)
        for to, words in (
            (b"file:///etc/passwd", "sent us on to an address of 'file', not of the web"),
            (b"ftp://127.0.0.1/x", "sent us on to an address of 'ftp', not of the web"),
            (b"data:text/plain,PK", "sent us on to an address of 'data', not of the web"),
            (b"javascript:0", "sent us on to an address of 'javascript', not of the web"),
            (b"http://[::1", "sent us on to no address"),
            (b"http://127.0.0.1:port/", "did not answer as a server of the web does"),
            (b"http://127.0.0.1:99999999/", "could not be reached"),
            (b"http://a b\x01/", "did not answer as a server of the web does"),
            (b"http://" + b"a" * 300 + b"/", "could not be reached"),
            (b"http://\xe9\xff/", "could not be reached"),
            (b"http://127.0.0.1:9/", "could not be reached"),
        )
    },
    "a redirect to nowhere": (lambda base: [b"HTTP/1.1 302 Found\r\n\r\n"], "answered with status 302"),
    "a redirect with a body without an end": (
        lambda base: forever(bytes(65536), b"HTTP/1.1 302 Found\r\nLocation: /bad/x\r\n\r\n"),
        "sent us on more than 5 times",
    ),
}  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """The bytes of a zip file with heartbeats that are now the official ones."""
    arrays = made_up("ecg5000")
    declare_official(arrays, "ecg5000", monkeypatch)
    with zipfile.ZipFile(tmp_path / "ECG5000.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for split, (x, y) in zip(layouts.UCR_SPLITS, arrays.splits(), strict=True):
            packed.writestr(f"{split}.txt", ucr_text(x, y, ".txt"))
    return (tmp_path / "ECG5000.zip").read_bytes()


def from_mirrors(*mirrors, monkeypatch):
    from dataclasses import replace

    from heavytail.lab.datasets.official import OFFICIAL

    monkeypatch.setitem(OFFICIAL, "ecg5000", replace(lookup("ecg5000"), mirrors=mirrors))


def names(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("kind", some(list(BAD), 2))
def test_what_a_server_does_instead_is_said_and_the_next_one_is_asked(kind, archive, home, tried, monkeypatch):
    bad, words = BAD[kind]

    def answers(asked, base):
        return bad(base) if asked.startswith("/bad/") else sized(archive)

    with serving(answers) as url:
        from_mirrors(f"{url}bad/", CLOSED, monkeypatch=monkeypatch)
        with pytest.raises((datasets.DataUnavailable, datasets.DataDamaged)) as refused:
            datasets.fetch("ecg5000", home)
        said = str(refused.value)
        assert words in said
        assert f"{url}bad/" in said
        assert f"{CLOSED} (could not be reached (Connection refused))" in said
        assert said.isprintable()
        assert f"into {home}, or set HEAVYTAIL_DATA" in said
        assert names(home) == []
        tried("downloads: servers", ONE_SENTENCE)
        from_mirrors(f"{url}bad/", f"{url}good/", monkeypatch=monkeypatch)
        assert datasets.load("ecg5000", home).verified
    assert names(home) == ["ecg5000.npz"]
    tried("downloads: the next mirror", UNDISTURBED)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_to_the_web_are_followed(status, archive, home, tried, monkeypatch):
    def answers(asked, base):
        return sized(archive) if asked == "/there" else redirect(b"/there", b"%d Moved" % status)

    with serving(answers) as url:
        from_mirrors(url, monkeypatch=monkeypatch)
        assert datasets.load("ecg5000", home).verified
    tried("downloads: servers", UNDISTURBED)


SLOW = {
    "says nothing": lambda: silent(),
    "stops in its headers": lambda: silent(HEAD + b"X: "),
    "stops in the file": lambda: silent(HEAD + b"Content-Length: 5000\r\n\r\nPK"),
    "stops in a piece": lambda: silent(HEAD + b"Transfer-Encoding: chunked\r\n\r\n8000\r\nPK"),
}


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize(
    ("patience", "words"),
    [
        (transfer.Patience(stall=0.05, start=240), "did not answer for 0.05 s"),
        (transfer.Patience(stall=240, start=0.05, speed=1e12), "did not send the file within 0 s"),
    ],
    ids=["stall", "total"],
)
def test_a_server_that_is_waited_for_no_longer_is_named(patience, words, kind, archive, home, tried, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", patience)
    with serving(lambda asked, base: SLOW[kind]()) as url:
        from_mirrors(url, monkeypatch=monkeypatch)
        with pytest.raises(datasets.DataUnavailable) as refused:
            datasets.fetch("ecg5000", home)
    assert f"{url} ({words})" in str(refused.value)
    assert names(home) == []
    tried("downloads: servers", ONE_SENTENCE)


def test_a_file_has_the_time_that_its_size_takes_on_a_slow_line():
    patience = transfer.Patience()
    seconds = {name: patience.seconds(download.reading.of(lookup(name))) for name in ("ecg5000", "cifar10")}
    assert 600 < seconds["ecg5000"] < 1800
    assert 3600 < seconds["cifar10"] < 4 * 3600


FULL = [errno.ENOSPC, errno.EDQUOT]


@pytest.mark.parametrize("place", ["the file", "the table", "the folder", "the lock"])
@pytest.mark.parametrize("number", [*FULL, errno.EROFS, errno.EFBIG, errno.EIO])
def test_a_full_disk_is_called_so_and_no_servers_fault(number, place, archive, home, tried, monkeypatch):
    def full(*_, **__):
        raise OSError(number, os.strerror(number))

    class Full:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        write = full

    target = {"the table": (np, "savez", full), "the lock": (download.tempfile, "mkstemp", full)}
    target |= {"the file": (transfer, "open", Full), "the folder": (download.Path, "mkdir", full)}
    with serving(lambda asked, base: sized(archive)) as url:
        from_mirrors(url, monkeypatch=monkeypatch)
        with monkeypatch.context() as patched:
            patched.setattr(*target[place], raising=False)
            with pytest.raises(datasets.DataUnavailable) as refused:
                datasets.fetch("ecg5000", home)
    said = str(refused.value)
    assert ("is full" in said) == (number in FULL)
    assert os.strerror(number) in said
    assert "could not be downloaded" not in said
    assert str(home) in said
    assert names(home) == []
    tried("downloads: disks", ONE_SENTENCE)


def test_what_is_no_file_is_not_replaced(archive, home, tried, monkeypatch):
    target = home / "ecg5000.npz"
    for make in (target.mkdir, lambda: os.mkfifo(target), lambda: target.symlink_to("/dev/null")):
        make()
        kind = target.lstat().st_mode
        with pytest.raises(datasets.DataUnavailable, match=r"ecg5000.npz is no file, and is not replaced by one"):
            datasets.fetch("ecg5000", home)
        assert target.lstat().st_mode == kind
        target.rmdir() if target.is_dir() else target.unlink()
        tried("downloads: disks", ONE_SENTENCE)


KILLED = """
import os, signal, sys
from dataclasses import replace
from heavytail.lab import datasets
from heavytail.lab.datasets import transfer
from heavytail.lab.datasets.official import OFFICIAL

def killed(url, path, *_):
    path.write_bytes(bytes(10**6))
    os.kill(os.getpid(), signal.SIGKILL)

transfer.get = killed
datasets.fetch("ecg5000", sys.argv[1])
"""


@pytest.mark.long
def test_the_next_download_removes_what_a_killed_one_left(archive, home, tried, monkeypatch):
    done = subprocess.run([sys.executable, "-c", KILLED, home], timeout=240)
    assert done.returncode == -signal.SIGKILL
    lock, part = names(home)
    assert lock.endswith(".lock")
    assert part.endswith(".part")
    with serving(lambda asked, base: sized(archive)) as url:
        from_mirrors(url, monkeypatch=monkeypatch)
        assert datasets.load("ecg5000", home).verified
    assert names(home) == ["ecg5000.npz"]
    tried("downloads: kills", UNDISTURBED)


def left(home, name, token):
    """What a download of that data set has in the data folder."""
    lock = home / f".{name}-{token}.lock"
    lock.touch()
    part = lock.with_suffix(".part")
    part.mkdir()
    (part / "data").write_bytes(b"half a file")
    return lock, part


def test_the_parts_of_the_living_and_the_files_of_others_stay(archive, home, tried, monkeypatch):
    for name in ("ecg5000", "mnist"):
        left(home, name, "deadbeef")
    mine = left(home, "ecg5000", "abcdefgh")
    others = [home / ".other-abcdefgh.lock", home / ".ecg5000-notes.lock", home / ".ecg5000-ABCDEFGH.lock"]
    for path in others:
        path.touch()
    (home / ".mnist-abcdefgh.lock").symlink_to(others[0])
    (home / ".mnist-abcdefgh.part").mkdir()
    with serving(lambda asked, base: sized(archive)) as url, files.locked(mine[0]) as held:
        assert held
        from_mirrors(url, monkeypatch=monkeypatch)
        datasets.fetch("ecg5000", home)
        assert (mine[1] / "data").read_bytes() == b"half a file"
        links = [".mnist-abcdefgh.lock", ".mnist-abcdefgh.part"]
        assert names(home) == sorted([*(path.name for path in (*mine, *others)), *links, "ecg5000.npz"])
    tried("downloads: kills", UNDISTURBED)


def test_a_stopped_download_leaves_nothing(archive, home, tried, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    good = write_npz(home / "ecg5000.npz", made_up("ecg5000"))
    before = good.read_bytes()
    monkeypatch.setattr(transfer, "get", stopped)
    with pytest.raises(KeyboardInterrupt):
        datasets.fetch("ecg5000", home)
    assert names(home) == ["ecg5000.npz"]
    assert good.read_bytes() == before
    tried("downloads: kills", UNDISTURBED)
