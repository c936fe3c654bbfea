import pytest

from . import places


@pytest.fixture
async def box():
    async with places.box() as one:
        yield one
