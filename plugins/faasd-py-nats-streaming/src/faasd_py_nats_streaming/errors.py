"""What can go wrong between us and a STAN server, by what is known afterwards. Pure.

Away         not connected, or nobody serves there: nothing was stored
Refused      the server said no, in its own words: nothing was stored
Unconfirmed  no answer in time: nobody knows
TooLarge     the server takes no message of this size: nothing was sent
"""

from __future__ import annotations


class StanError(Exception):
    """Any of them; the text is one sentence."""


class Away(StanError):
    """There is no connection to a STAN server."""


class Refused(StanError):
    """The server said no."""


class Unconfirmed(StanError):
    """The server did not confirm in time: it may have stored the message or not."""


class TooLarge(StanError):
    """The message is over the server's max_payload."""
