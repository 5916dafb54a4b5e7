"""Which plain models are offered: those that the operator names, or all that the upstream has."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from gateway.agency.models.passing.passage import Listed
from gateway.errors import UpstreamError

log = logging.getLogger(__name__)

ALL: Final = ("*",)
KEEP_S: Final = 60.0
"""How long the upstream's list is kept."""
AGAIN_S: Final = 5.0
"""The pause before a list that could not be read is asked for again."""

AGENCY: Final = "agency/"
"""A name that begins so is an agency's, whatever the upstream calls its own."""


class Offer:
    """`names` are the operator's; `lister` reads the upstream's list, which `ALL` stands for."""

    def __init__(
        self,
        names: Sequence[str],
        lister: Callable[[], Awaitable[Sequence[Listed]]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._all = tuple(names) == ALL
        self._known = {} if self._all else _by_name(map(Listed, names))
        self._lister = lister
        self._clock = clock
        self._until = clock()
        self._reading = asyncio.Lock()
        self._failure: UpstreamError | None = None

    async def models(self) -> list[Listed]:
        """Returns all models. Raises UpstreamError if the upstream's list could never be read."""
        if self._all and self._clock() >= self._until:
            async with self._reading:
                if self._clock() >= self._until:
                    await self._read()
        if not self._known and self._failure is not None:
            raise self._failure
        return list(self._known.values())

    async def find(self, name: str) -> Listed | None:
        """The model of this name. Raises UpstreamError as `models` does."""
        if name in self._known and not self._all:
            return self._known[name]
        return next((one for one in await self.models() if one.id == name), None)

    async def _read(self) -> None:
        """A list that was read before serves until there is a newer one."""
        try:
            self._known = _by_name(await self._lister())
        except UpstreamError as error:
            log.warning("the upstream's list of models can't be read", extra={"code": error.code})
            self._failure, pause = error, AGAIN_S
        else:
            self._failure, pause = None, KEEP_S
        self._until = self._clock() + pause


def _by_name(models: Sequence[Listed] | map[Listed]) -> dict[str, Listed]:
    return {one.id: one for one in models if not one.id.startswith(AGENCY)}
