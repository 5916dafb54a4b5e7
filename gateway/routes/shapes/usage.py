"""Tokens used, in OpenAI's shape."""

from __future__ import annotations

import msgspec

from gateway.agency.model import Usage


class CompletionUsage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


def usage(used: Usage) -> CompletionUsage:
    total = used.prompt_tokens + used.completion_tokens
    return CompletionUsage(used.prompt_tokens, used.completion_tokens, total)
