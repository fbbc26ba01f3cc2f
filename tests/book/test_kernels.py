from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from heavytail.book import kernels, run

FRONT = "---\nkernelspec:\n  name: python3\n  display_name: Python 3\n---\n\n# A chapter\n\n"
forks = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernels are forked on Linux")


def chapter(*cells: str) -> str:
    return FRONT + "\n".join(f"```{{code-cell}}\n{cell}\n```\n" for cell in cells)


def texts(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(output.get("text", [])).strip() for cell in cells for output in cell.get("outputs", [])]


def ends(process: int) -> bool:
    """Whether a process is gone within a minute."""
    last = time.monotonic() + 60
    while time.monotonic() < last:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@forks
@pytest.mark.long
def test_a_warm_kernel_gives_the_notebook_of_a_cold_one_and_has_imported_nothing_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "one.md"
    page.write_text(
        chapter(
            "import os, sys\nprint(os.getcwd(), __name__, os.environ['A_WORD'], sys.path[0])",
            "import subprocess\nprint(subprocess.run([sys.executable, '-c', 'raise SystemExit(3)']).returncode)",
            "from matplotlib import pyplot as plt\nplt.rcParams['svg.hashsalt'] = 'a'\nplt.plot([1, 2]);",
            "print(plt.get_backend())",
            "print('first', flush=True)\nprint('last')",  # two messages, as any two lines of a busy machine
        )
    )
    monkeypatch.setenv("A_WORD", "said")
    run.execute(page, tmp_path / "cold" / "one.ipynb", parameters={}, folder=tmp_path)
    with kernels.warm(kernels.FEWEST, {}, ("matplotlib.pyplot", "no_such_module")) as found:
        monkeypatch.setenv("JUPYTER_PATH", found["JUPYTER_PATH"])
        run.execute(page, tmp_path / "warm" / "one.ipynb", parameters={}, folder=tmp_path)
        asks = "import sys\nprint(sorted(name for name in sys.modules if name.startswith('heavytail')))"
        page.write_text(chapter(asks + "\nprint('matplotlib.pyplot' in sys.modules)"))
        run.execute(page, tmp_path / "asked.ipynb", parameters={})
    assert (tmp_path / "warm" / "one.ipynb").read_bytes() == (tmp_path / "cold" / "one.ipynb").read_bytes()
    assert texts(tmp_path / "warm" / "one.ipynb")[0].startswith(f"{tmp_path} __main__ said ")
    assert texts(tmp_path / "cold" / "one.ipynb")[-1] == "first\nlast"
    assert texts(tmp_path / "asked.ipynb") == ["[]\nTrue"]


@forks
@pytest.mark.long
def test_a_kernel_ends_with_its_door_hears_an_interrupt_and_no_two_blocks_hash_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes, note = [], tmp_path / "note"
    for _ in range(2):
        with monkeypatch.context() as patch, kernels.warm(kernels.FEWEST, {}, ()) as found:
            patch.setenv("JUPYTER_PATH", found["JUPYTER_PATH"])
            manager, client = start_new_kernel()
            asks = "(hash('a word'), os.getpid(), os.getppid())"
            reply = client.execute_interactive("import os", timeout=60, user_expressions={"it": asks})
            hashed, kernel, server = eval(reply["content"]["user_expressions"]["it"]["data"]["text/plain"])
            hashes.append(hashed)
            door = manager.provisioner.pid
            assert len({kernel, server, door, os.getpid()}) == 4
            lines = "import time\nprint('waits')\ntime.sleep(600)"
            waits = client.execute(lines, stop_on_error=False)  # else what is asked soon after its error is not done
            while client.get_iopub_msg(timeout=60)["content"].get("text", "").strip() != "waits":
                pass
            manager.interrupt_kernel()
            while (reply := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != waits:
                pass
            assert reply["content"]["ename"] == "KeyboardInterrupt"
            if not hashes[1:]:
                os.kill(door, signal.SIGKILL)
                assert ends(kernel)
            else:
                ends_with = ("import atexit, pathlib, time", f"atexit.register(pathlib.Path({str(note)!r}).touch)")
                lines = "\n".join([*ends_with, "atexit.register(time.sleep, 0.5)"])  # the last one first
                reply = client.execute_interactive(lines, timeout=60)  # before the request to end, which may overtake
                assert reply["content"]["status"] == "ok"
                manager.shutdown_wait_time = 120
                manager.shutdown_kernel()
                assert ends(kernel)
                assert note.exists()  # what a kernel does at its end is not cut short
            client.stop_channels()
            manager.cleanup_resources()
        assert ends(server)
    assert hashes[0] != hashes[1]


def test_few_chapters_get_kernels_of_their_own() -> None:
    with kernels.warm(kernels.FEWEST - 1, {}) as found:
        assert found == {}
