"""What plug-in authors test against: the contracts as test suites, and fakes."""

from faasd_py.testing.queue_conformance import QueueConformance
from faasd_py.testing.recorder import Pieces, Recorder
from faasd_py.testing.runtime_conformance import RuntimeConformance

__all__ = ["Pieces", "QueueConformance", "Recorder", "RuntimeConformance"]
