"""Secrets that systemd hands over."""

import pytest

from faasd_py.daemon.credentials import link_credentials


@pytest.fixture
def given(tmp_path):
    """$CREDENTIALS_DIRECTORY with two secrets of ours and one that is not."""
    directory = tmp_path / "credentials"
    directory.mkdir()
    for name in ("secret_api-key", "secret_a_b", "tls.key", "secret_"):
        (directory / name).write_text(f"text of {name}")
    return directory


@pytest.fixture
def secrets(tmp_path):
    """The state directory's secrets, empty."""
    directory = tmp_path / "secrets"
    directory.mkdir()
    return directory


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_each_secret_has_its_files_name(given, secrets):
    """secret_NAME is read as NAME; other credentials are not functions' business."""
    link_credentials(secrets, {"CREDENTIALS_DIRECTORY": str(given)})
    assert names(secrets) == ["a_b", "api-key"]
    assert (secrets / "api-key").read_text() == "text of secret_api-key"


def test_a_restart_forgets_what_is_no_longer_given(given, secrets):
    """Links of the last start go, also those that point nowhere now; kept secrets stay."""
    link_credentials(secrets, {"CREDENTIALS_DIRECTORY": str(given)})
    (secrets / "kept").write_text("kept")
    (given / "secret_api-key").unlink()
    link_credentials(secrets, {"CREDENTIALS_DIRECTORY": str(given)})
    assert names(secrets) == ["a_b", "kept"]
    link_credentials(secrets, {})
    assert names(secrets) == ["kept"]


def test_a_kept_secret_stays(given, secrets, caplog):
    """A secret that was kept under the same name is not overwritten, and the log says so."""
    (secrets / "api-key").write_text("kept")
    link_credentials(secrets, {"CREDENTIALS_DIRECTORY": str(given)})
    assert (secrets / "api-key").read_text() == "kept"
    assert "secret api-key: the one in" in caplog.text


@pytest.mark.parametrize(
    "environ", [{}, {"CREDENTIALS_DIRECTORY": ""}, {"CREDENTIALS_DIRECTORY": "/nowhere"}]
)
def test_without_credentials_nothing_happens(secrets, environ):
    """Outside systemd, and without the directory, there are only kept secrets."""
    link_credentials(secrets, environ)
    assert names(secrets) == []


def test_an_operators_own_link_stays(given, secrets, tmp_path):
    """A kept secret may be a link to a file elsewhere, also while that is not there."""
    (tmp_path / "vault").write_text("from the vault")
    (secrets / "linked").symlink_to(tmp_path / "vault")
    (secrets / "dangling").symlink_to(tmp_path / "not-mounted-yet")
    link_credentials(secrets, {"CREDENTIALS_DIRECTORY": str(given)})
    link_credentials(secrets, {})
    assert names(secrets) == ["dangling", "linked"]
    assert (secrets / "linked").read_text() == "from the vault"
