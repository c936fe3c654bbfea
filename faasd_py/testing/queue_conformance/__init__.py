"""`queue.contract` as tests: a backend that passes `QueueConformance` may be trusted with calls.

Needs no pytest to be imported. A test module of a backend says:

    class TestMyQueue(QueueConformance):
        @pytest.fixture(autouse=True)
        def place(self, tmp_path):
            self.directory = tmp_path

        def open_queue(self, site):
            return my_plugin.open_queue(site)

and runs under pytest-trio. What a backend honestly cannot do, by its `capabilities`, is skipped.
"""

from __future__ import annotations

from faasd_py.testing.queue_conformance.bodies import BodyConformance
from faasd_py.testing.queue_conformance.callbacks import CallbackConformance
from faasd_py.testing.queue_conformance.cancellation import CancellationConformance
from faasd_py.testing.queue_conformance.crash import CrashConformance
from faasd_py.testing.queue_conformance.dead_letters import DeadLetterConformance
from faasd_py.testing.queue_conformance.dedup import DedupConformance
from faasd_py.testing.queue_conformance.inspection import InspectionConformance
from faasd_py.testing.queue_conformance.lanes import LaneConformance
from faasd_py.testing.queue_conformance.lifecycle import LifecycleConformance
from faasd_py.testing.queue_conformance.pressure import PressureConformance
from faasd_py.testing.queue_conformance.results import ResultConformance
from faasd_py.testing.queue_conformance.schedule import ScheduleConformance

__all__ = ["QueueConformance"]


class QueueConformance(
    LifecycleConformance,
    LaneConformance,
    ScheduleConformance,
    DedupConformance,
    DeadLetterConformance,
    InspectionConformance,
    ResultConformance,
    CallbackConformance,
    CancellationConformance,
    BodyConformance,
    PressureConformance,
    CrashConformance,
):
    """All areas."""
