"""Secrets that systemd hands over (`LoadCredential=secret:DIRECTORY`) beside those in the state directory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PREFIX: Final = "secret_"
"""systemd.exec(5): a credential loaded from a directory is called ID_FILE."""
_log: Final = logging.getLogger("faasd_py.daemon")


def link_credentials(secrets: Path, environ: Mapping[str, str]) -> None:
    """Make each credential `secret_NAME` readable as `secrets/NAME`, by a link; links of an earlier start go first.

    A secret of that name that was kept in the directory itself stays, and the log says which one is used.
    """
    for old in secrets.iterdir():
        # An operator's own link is a kept secret as a file is.
        if old.is_symlink() and old.readlink().name == PREFIX + old.name:
            old.unlink()
    given = environ.get("CREDENTIALS_DIRECTORY")
    if not given or not Path(given).is_dir():
        return
    for credential in sorted(Path(given).glob(f"{PREFIX}?*")):
        link = secrets / credential.name.removeprefix(PREFIX)
        if link.exists():
            _log.warning("secret %s: the one in %s is used, not systemd's credential", link.name, secrets)
        else:
            link.symlink_to(credential)
