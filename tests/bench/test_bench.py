"""The bench's own arithmetic: what it prints is what was measured."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import trio

from faasd_py.config import parse
from tests.bench import (
    calls_bench,
    logs_bench,
    place,
    processes,
    proxy,
    report,
    stream,
    target,
    variants,
    wrk,
)
from tests.bench.rounds import Rounds, Series, take_turns


def test_series():
    """The median is the middle round's; the spread is the lowest and the highest."""
    series = Series([3.0, 1.0, 2.0])
    assert (series.median, series.low, series.high) == (2.0, 1.0, 3.0)


def test_ratios_are_taken_within_a_round():
    """A machine that is half as fast for a round changes no ratio."""
    rounds = Rounds()
    for speed in (1.0, 0.5, 2.0):
        rounds.add("mine", {"rate": 300 * speed})
        rounds.add("theirs", {"rate": 200 * speed})
    ratio = rounds.ratio("mine", "theirs")
    assert ratio.values == [1.5, 1.5, 1.5]


def test_every_variant_runs_once_a_round_in_both_directions():
    """Who comes first in one round comes last in the next."""
    order = []
    slices = {name: lambda name=name: order.append(name) or {"rate": 1.0} for name in "abc"}
    rounds = take_turns(slices, 2, "test")
    assert "".join(order) == "abccba"
    assert rounds.series("b", "rate").values == [1.0, 1.0]


def line(**changed):
    given = {"requests": 1000, "micros": 500_000, "refused": 0, "broken": 0, "p50": 100, "p99": 900}
    return "Running 1s test\n  32 connections\n\n" + json.dumps({**given, **changed}) + "\n"


def test_what_wrk_says():
    """The last line has the figures, in microseconds."""
    load = wrk.read(line(), "url")
    assert (load.good, load.rate, load.p50, load.p99) == (1000, 2000.0, 0.0001, 0.0009)


@pytest.mark.parametrize("bad", [{"broken": 1}, {"refused": 2}, {"requests": 0}])
def test_a_run_with_failures_is_no_figure(bad):
    """Broken connections, refused requests or none at all: an error, not a rate."""
    with pytest.raises(wrk.Failed, match=r"^url: of \d+ requests"):
        wrk.read(line(**bad), "url")


def test_targets():
    """The median decides; a tie holds."""
    assert target.at_least("a", 1.0, Series([0.9, 1.0, 5.0])).passed
    assert not target.at_least("a", 1.0, Series([0.9, 0.99, 5.0])).passed
    assert target.at_most("a", 60, Series([60.0]), "MB").passed
    assert not target.at_most("a", 60, Series([61.0]), "MB").passed
    assert target.unmeasured("a", "≥ 1 x", "no Go toolchain").passed is None


def test_the_page_has_every_figure():
    """Targets first, then each variant with median and spread."""
    rounds = Rounds()
    for rate in (41_000.0, 40_000.0, 42_000.0):
        rounds.add("faasd-py sync", {"rate": rate, "cpu": 27e-6})
    rows = [target.at_least("sync", 1.3, Series([1.5]))]
    page = report.render(rows, {"Small calls": rounds}, "make bench", 600)
    assert "| sync | ≥ 1.3 x | 1.5 x | one run | pass |" in page
    assert "- faasd-py sync: rate 41,000 (40,000 … 42,000); cpu 27 µs (27 … 27)" in page
    assert "`make bench`" in page


def test_a_section_may_be_a_text():
    """It stands below its title as it is."""
    assert "## Queue backends\n\n| a |\n" in report.render([], {"Queue backends": "| a |\n"}, "make bench", 1)


def test_a_daemons_configuration_is_one(tmp_path):
    """What the bench writes is a configuration that the daemon understands."""
    daemon = variants.Daemon(
        place.Place(tmp_path), "one", {"f": {"url": "http://127.0.0.1:1", "exec_timeout": "0s"}}
    )
    text = daemon.config.read_text()
    assert tomllib.loads(text)["functions"]["f"]["exec_timeout"] == "0s"
    assert parse(text, "config.toml").functions["f"].url == "http://127.0.0.1:1"


def test_a_key_of_a_daemons_configuration_may_be_any_string(tmp_path):
    """Image patterns have slashes and stars, which a bare key of TOML cannot."""
    images = {"functions/*": {"command": ["/bin/cat"]}}
    daemon = variants.Daemon(place.Place(tmp_path), "one", {}, images=images)
    assert tomllib.loads(daemon.config.read_text())["images"] == images


def test_the_blocked_daemons_configuration_is_one(tmp_path):
    """So is that of the daemon whose worker waits for ever."""
    daemon = proxy.blocked_daemon(place.Place(tmp_path), "one", 9)
    assert parse(daemon.config.read_text(), "config.toml").workers.max_inflight == 1


def test_cost_of_a_process_and_its_children():
    """CPU time and memory of what a program started count as its own."""
    spend = "import time\nwhile time.process_time() < 0.2: pass"
    burn = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spend!r}]); print(flush=True); input()"
    command = [sys.executable, "-c", burn]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        server = processes.Server("burn", process, 0)
        assert server.cpu() >= 0.19
        assert server.precise_cpu() > 0
        assert 1 << 20 < server.memory() < 1 << 30
        assert processes.tree(process.pid) == [process.pid]


def test_a_thread_that_has_ended_still_counts():
    """What a daemon costs while it does nothing is a small difference: it must not lose what was counted before."""
    spend = "import time; end = time.thread_time() + 0.1\nwhile time.thread_time() < end: pass"
    burn = (
        f"import threading; thread = threading.Thread(target=exec, args=({spend!r},)); thread.start(); thread.join()\n"
        "print(flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert processes.Server("burn", process, 0).precise_cpu() >= 0.1


def test_a_server_that_ends_is_an_error(tmp_path):
    """With what it said."""
    command = [sys.executable, "-c", "raise SystemExit('no such file')"]
    with (
        pytest.raises(RuntimeError, match="no such file"),
        processes.serving("broken", command, place.free_port(), tmp_path / "log"),
    ):
        pytest.fail("it listens")


def test_fdatasync_takes_time(tmp_path):
    """The disk's own cost is positive, and the file is gone afterwards."""
    assert 0 < proxy.fdatasync_seconds(tmp_path, 5) < 1
    assert list(tmp_path.iterdir()) == []


def test_a_body_is_moved_as_asked():
    """Up and echo send the size, down asks for it."""
    assert stream.request("/function/peer", "down", 9) == ("/function/peer/source?bytes=9", 0)
    assert stream.request("", "up", 9) == ("/sink", 9)
    assert stream.request("", "echo", 9) == ("/echo", 9)


def test_the_bench_of_logs_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every row has a figure, and no line was lost."""
    trio.run(logs_bench.measure, 1, 200, tmp_path)
    rows = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines())
    assert list(rows) == [*logs_bench.KINDS, "read", "lost"]
    assert float(rows.pop("lost")) == 0
    assert all(float(figure) > 0 for figure in rows.values())


def test_the_figures_of_the_calls_api(tmp_path, capsys):
    """A line for each question and change, with both figures."""
    trio.run(calls_bench.measure, 2000, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 18
    assert all(re.search(r" ms, the loop stood still for +[\d.]+ ms$", line) for line in lines)
