from __future__ import annotations

import pytest

from tests.rpc.asking import Rpc, calling
from tests.running import Gateway


@pytest.fixture
async def ann(gateway: Gateway) -> Rpc:
    """A caller who may converse and nothing else."""
    return await calling(gateway, "ann")
