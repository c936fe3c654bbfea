import pytest

from faasd_py.runtime.machinery import open_machinery


@pytest.fixture
async def machinery():
    async with open_machinery() as machinery:
        yield machinery
