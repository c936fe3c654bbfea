"""The gateway's certificate and key, as a TLS context."""

from __future__ import annotations

import ssl

from faasd_py.config import TlsSettings
from faasd_py.core.errors import ConfigError


def open_certificate(tls: TlsSettings) -> ssl.SSLContext:
    """A server's context for HTTP/1.1.

    Raises:
        ConfigError: a file cannot be read, the key is encrypted, or certificate and key do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # With a password at hand OpenSSL asks nobody for one at the terminal, and an encrypted key is an error.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (OSError, ssl.SSLError) as error:
        where = f"{tls.certificate} and {tls.key}"
        raise ConfigError(f"gateway.tls: {where} cannot be used: {error.strerror or error}") from error
    return context
