"""Brokers for tests: a real nats-server and the STAN server double on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .stan_ground import Broker


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for all tests that do not harm it; each has a subject of its own."""
    broker = Broker(tmp_path_factory.mktemp("broker"), "--max-channels", "0", "--dup-timeout", "0.2")
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Any]:
    """Makes brokers of the test's own, which it may harm."""
    made: list[Broker] = []

    def make(*words: str, **more: str) -> Broker:
        broker = Broker(tmp_path / f"broker-{len(made)}", *words, **more)
        made.append(broker)
        broker.start()
        return broker

    yield make
    for broker in made:
        broker.stop()


@pytest.fixture
def broker(make_broker: Any) -> Broker:
    """One of the test's own."""
    return make_broker("--dup-timeout", "0.2")
