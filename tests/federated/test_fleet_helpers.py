"""The fleet's own tools: ports that differ, waits that end, and no program that outlives its test."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import contacts
import fleet as fleets
import pytest

LISTS = os.path.exists("/proc/net/udp")


def test_ports_that_are_drawn_at_once_differ():
    assert len(set(fleets.free_ports(50))) == 50


def test_a_wait_ends_where_a_program_has_ended(tmp_path):
    (tmp_path / "home").mkdir()
    made = fleets.Fleet(tmp_path, {}, 0, [], {}, time.monotonic() + fleets.PATIENCE)
    made.start("superlink", sys.executable, "-c", "print('out of cheese')").wait()
    with pytest.raises(AssertionError, match=r"^round 1 did not happen, as superlink has ended\n.*\nout of cheese"):
        fleets.wait(lambda: False, made, "round 1")


CHILD = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("child").write_text(str(child.pid))
time.sleep(600)
"""


def test_a_program_that_hangs_ends_with_all_that_it_has_started(tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        fleets.called([sys.executable, "-c", CHILD], dict(os.environ), tmp_path, patience=5)
    child, end = int((tmp_path / "child").read_text()), time.monotonic() + 60
    while alive(child):
        assert time.monotonic() < end
        time.sleep(0.1)


def alive(process):
    """Whether a process runs; one that nobody has waited for does not."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return bool(listed.stdout.strip()) and not listed.stdout.startswith("Z")


CALLS = """
import contextlib, socket, subprocess, sys
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
    pass
with contextlib.suppress(OSError):
    socket.getaddrinfo("localhost", 80)
for far in sys.argv[1:]:
    plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plug.connect((far, 9))  # of such a socket it sends nothing
    with contextlib.suppress(OSError):
        socket.getaddrinfo("nowhere.invalid", 80)
    print("here", flush=True)
    sys.stdin.readline()
"""


FAR = "198.51.100.1"  # of a net that is for examples


def own_address():
    """The address from which this machine would call another one; loopback where it has no network."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        plug.connect((FAR, 9))
        return plug.getsockname()[0]
    return "127.0.0.1"


def name_servers(text):
    """Whom a system asks for the address of a name, by the text of its resolv.conf."""
    lines = [line.split() for line in text.splitlines()]
    return {words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1}


def test_name_servers_are_read_off():
    assert name_servers("# nameserver 1.1.1.1\nsearch a\nnameserver 10.0.0.53\nnameserver\n") == {"10.0.0.53"}


@pytest.mark.parametrize("other", [None, own_address(), FAR], ids=["nobody", "this machine", "another machine"])
def test_whom_a_process_and_its_children_contact_is_told_and_listed(other, tmp_path):
    called, far = [other] if other else [], other == FAR
    outer = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {CALLS!r}, *sys.argv[1:]]))"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = contacts.watched(dict(os.environ), tmp_path)
    command, end = [sys.executable, "-c", outer, *called], time.monotonic() + 60
    with contacts.listed(tmp_path, 0.02) as found, subprocess.Popen(command, env=environment, **pipes) as program:
        if far and program.stdout.readline():  # where the network cannot even be asked for, it ends at once
            while LISTS and f"udp {FAR}" not in found and time.monotonic() < end:
                time.sleep(0.05)
        program.communicate("\n")
    processes, abroad = contacts.told(tmp_path)
    assert len(processes) == 2
    calls = [f"contact socket.connect ('{FAR}', 9)"] if far else []
    names = ["contact socket.getaddrinfo nowhere.invalid"] if other and program.returncode == 0 else []
    assert [line.split(" by ")[0] for line in abroad] == calls + names
    # Who asks for a name is seen to ask a name server, if it is looked at in that very moment.
    resolver = Path("/etc/resolv.conf")
    servers = name_servers(resolver.read_text()) if other and resolver.exists() else set()
    asked = {f"{kind} {server}" for kind in ("udp", "tcp") for server in servers}
    assert set(found) - asked == ({f"udp {FAR}"} if far and LISTS and program.returncode == 0 else set())
