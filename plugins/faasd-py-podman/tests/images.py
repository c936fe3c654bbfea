"""Images made from this machine's own Python: no registry, no network, no build tool."""

from __future__ import annotations

import re
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from faasd_py.testing.runtime_conformance import SUBJECT

INTERPRETER = Path("/usr/bin/python3").resolve()
FUNCTION = Path(__file__).with_name("function.py")
_LEFT_OUT = re.compile(
    r"/(test|idlelib|ensurepip|lib2to3|distutils|pydoc_data|tkinter|config-3[^/]*|dist-packages)(/|$)|opt-\d\.pyc$"
)
CONFIG = {"Cmd": ["/usr/bin/python3", "-I", "-S", "/function.py"]}


def write_python_root(path: Path) -> None:
    """A root filesystem with Python, its standard library, `/function.py` and `/subject.py`, as a tar."""
    library = Path(f"/usr/lib/{INTERPRETER.name}")
    with tarfile.open(path, "w", dereference=True) as tar:
        tar.add(INTERPRETER, "usr/bin/python3")
        for shared in _shared_libraries(INTERPRETER):
            tar.add(shared, shared.lstrip("/"))
        tar.add(library, str(library).lstrip("/"), filter=_kept)
        tar.add(FUNCTION, "function.py")
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
