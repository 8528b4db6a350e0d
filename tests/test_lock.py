"""One writer to a folder: who it is can be read, and a dead one does not stand in the way."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from garl.errors import GarlError
from garl.lock import locked

HOLDS = "import sys, time; from pathlib import Path; from garl.lock import locked\n"
HOLDS += "with locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"


def test_the_owner_is_named_while_it_lives(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        owner = json.loads((tmp_path / "run" / "lock").read_text())
        assert (owner["pid"], owner["host"]) == (os.getpid(), socket.gethostname())
        named = rf"run is being written by process {os.getpid()} on .* since {owner['since']}: stop that first"
        with pytest.raises(GarlError, match=named), locked(tmp_path / "run"):
            pass
        (tmp_path / "run" / "lock").write_text("{")
        with pytest.raises(GarlError, match="is being written by another process"), locked(tmp_path / "run"):
            pass
    assert (tmp_path / "run" / "lock").read_text() == ""
    with locked(tmp_path / "run"):
        pass


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(GarlError, match=f"is being written by process {process.pid} on "), locked(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
    left = json.loads((tmp_path / "lock").read_text())
    assert left["pid"] == process.pid
    (tmp_path / "lock").write_text(json.dumps(left | {"pid": os.getppid()}))  # the number is another process's by now
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_an_error_inside_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass


def test_of_processes_that_start_together_one_wins(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from garl.lock import locked; from garl.errors import GarlError\n"
    code += (
        "sys.stdin.readline()\ntry:\n with locked(Path(sys.argv[1])): print('won', flush=True); sys.stdin.readline()\n"
    )
    code += "except GarlError: print('lost', flush=True)"
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(6)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    outcomes = [process.stdout.readline() for process in processes if process.stdout is not None]
    for process in processes:
        process.communicate(b"\n")
    assert sorted(outcomes) == [b"lost\n"] * 5 + [b"won\n"]
