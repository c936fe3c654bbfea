"""The lines of functions, kept on disk: written by one thread, bounded, and read while they are written.

One directory a function, in it segments of newline-delimited JSON. Lines that the disk or the thread cannot keep up with
are lost and counted: a log never holds up a call.
"""

from faasd_py.observe.logbook.line import MAX_TEXT, Line
from faasd_py.observe.logbook.logbook import Logbook, open_logbook
from faasd_py.observe.logbook.wanted import Wanted
from faasd_py.observe.logbook.words import Figures, LogsWords

__all__ = ["MAX_TEXT", "Figures", "Line", "Logbook", "LogsWords", "Wanted", "open_logbook"]
