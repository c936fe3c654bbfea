"""Images made from this machine's own Python: no registry, no network, no build tool."""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from faasd_py.testing.runtime_conformance import SUBJECT
from tests.house.daemon import FUNCTIONS

INTERPRETER = Path("/usr/bin/python3").resolve()
FUNCTION = Path(__file__).with_name("function.py")
SERVICE = FUNCTIONS / "service.py"
WATCHDOG = Path(__file__).with_name("watchdog.py")
PROGRAMS = (Path("/bin/cat"), Path("/usr/bin/tr"))
"""What the watchdog may run, besides Python."""
_LEFT_OUT = re.compile(
    r"/(test|idlelib|ensurepip|lib2to3|distutils|pydoc_data|tkinter|config-3[^/]*|dist-packages)(/|$)|opt-\d\.pyc$"
)
CONFIG = {"Cmd": ["/usr/bin/python3", "-I", "-S", "/function.py"]}


def write_python_root(path: Path) -> None:
    """A root filesystem with Python, its standard library, some programs, and the tests' functions below /, as a tar."""
    library = Path(f"/usr/lib/{INTERPRETER.name}")
    with tarfile.open(path, "w", dereference=True) as tar:
        tar.add(INTERPRETER, "usr/bin/python3")
        for program in PROGRAMS:
            tar.add(program, str(program).lstrip("/"))
        for shared in dict.fromkeys(chain(*map(_shared_libraries, (INTERPRETER, *PROGRAMS)))):
            tar.add(shared, shared.lstrip("/"))
        tar.add(library, str(library).lstrip("/"), filter=_kept)
        for function in (FUNCTION, WATCHDOG, SERVICE):
            tar.add(function, function.name)
        tar.add(SUBJECT, "subject.py")
        for name in ("tmp", "proc", "dev", "sys", "etc"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)


def _shared_libraries(program: Path) -> Iterable[str]:
    told = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    return dict.fromkeys(re.findall(r"(?:=> |^\s+)(/\S+) \(", told, re.MULTILINE))


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _LEFT_OUT.search(member.name) else member
