"""How many tokens a text has, estimated where no model has counted them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.agency.model import ChatMessage, Json, Usage
from gateway.agency.speech.prompt import CHARACTERS_PER_TOKEN


def tokens(characters: int) -> int:
    """The tokens of a text of this many characters, rounded up."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def estimate(messages: Iterable[ChatMessage], text: str) -> Usage:
    """The usage of a call with these messages that gave this text."""
    prompt = sum(len(part) for message in messages for part in texts(message.get("content")))
    return Usage(tokens(prompt), tokens(len(text)))


def texts(content: Json) -> list[str]:
    """The texts of a message's content: a string, or a list of parts of which some are text."""
    if isinstance(content, str):
        return [content]
    if content is None or isinstance(content, (bool, int, float, Mapping)):
        return []
    parts = [part.get("text") for part in content if isinstance(part, Mapping)]
    return [text for text in parts if isinstance(text, str)]
