"""docs/two-daemons.md does what it says."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "two-daemons.md"


def port_base() -> int:
    """A number: ten times it plus 1, 2 and 3 are free ports."""
    for _ in range(100):
        base = random.randrange(1100, 2900)
        try:
            for n in (1, 2, 3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", base * 10 + n))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


def end_all(directory: Path) -> None:
    """Whatever the page's commands left running: their processes work in its directory."""
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                if (path / "cwd").readlink() == directory and int(path.name) != os.getpid():
                    os.kill(int(path.name), signal.SIGKILL)
            except OSError:
                continue


@pytest.mark.crash
@pytest.mark.usefixtures("nats")
def test_the_demo_of_two_daemons(tmp_path, capsys):
    """Every command succeeds; all calls ran, on both daemons."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = "set -eu\n" + "\n".join(
        re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    )
    for written in ("422", "622", "808"):
        script = re.sub(rf"127\.0\.0\.1([:/]){written}(?=[\d$])", rf"127.0.0.1\g<1>{port_base()}", script)
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    finally:
        end_all(tmp_path)
    log = (tmp_path / "daemon1.log").read_text() if (tmp_path / "daemon1.log").exists() else ""
    assert done.returncode == 0, (done.stdout, done.stderr, log[-3000:])
    ran = [(tmp_path / f"ran{n}").read_text().splitlines() for n in (1, 2)]
    assert set(ran[0]) | set(ran[1]) == {f"call {i}" for i in range(1, 121)}
    assert len(ran[0]) > 10
    assert len(ran[1]) > 10
    assert "Traceback" not in log
    with capsys.disabled():
        print("\n" + done.stdout)
