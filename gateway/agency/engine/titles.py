"""Titles: a conversation that has none is given one after its first reply, by a model."""

from __future__ import annotations

import logging
from uuid import UUID

from gateway.agency.model import ModelCall
from gateway.agency.run.services import Services
from gateway.agency.speech.prompt import TITLE
from gateway.agency.turn.request import is_model
from gateway.errors import GatewayError
from gateway.names import visible
from gateway.process.telemetry import causes

log = logging.getLogger(__name__)

LONGEST = 100
"""Characters."""
TIMEOUT = 30.0
"""Seconds. Nobody waits for a title."""


class Titles:
    """The default model titles what teams talk about."""

    def __init__(self, services: Services) -> None:
        self._ledger = services.ledger
        self._model = services.model
        self._default_model = services.default_model

    async def give(self, conversation_id: UUID) -> None:
        """Give a conversation its title. If that fails it has none, and the next reply tries
        again."""
        try:
            if found := await self._ledger.untitled(conversation_id):
                text, responder = found
                plain = responder is not None and is_model(responder)
                title = await self._ask(text, (plain and responder) or self._default_model)
                if title:
                    await self._ledger.entitle(conversation_id, title)
        except GatewayError as error:
            log.info("a conversation has no title yet", extra={"causes": causes(error)})

    async def _ask(self, text: str, model: str) -> str:
        messages = [{"role": "system", "content": TITLE}, {"role": "user", "content": text}]
        call = ModelCall(model=model, messages=messages, timeout=TIMEOUT)
        return fitting((await self._model.complete(call)).text)


def fitting(text: str) -> str:
    """A title out of what a model said: one line, without quotes around it, of bounded length."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    words = " ".join(visible(line.replace("\t", " ")).split()).strip("\"'`*#“”„«» ")
    return words if len(words) <= LONGEST else words[: LONGEST - 1].rstrip() + "…"
