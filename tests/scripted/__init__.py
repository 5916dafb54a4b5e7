"""The scripted upstream: an OpenAI-compatible model server that says what a test tells it to say.

    async with ScriptedUpstream() as upstream:
        upstream.script("manager", say(143, "How hard is it?"), say(0, "Two days."))
        upstream.script("programmer", say(1, "Two days."))
        ...  # point the gateway at upstream.base_url

It is a real HTTP server on a loopback socket, so every fault of a network can be played. Each agent
has a queue of steps, found by the name in its system message (`You are #143 (programmer).`); calls
without such a message take from the queue `"*"`. A call that nobody scripted and a step that
nobody took fail the test when the context ends. Whether a step is played as a stream or as one
JSON body is decided by the request.
"""

from tests.scripted.exchange import ANONYMOUS, Call, Exchange, completion, delta
from tests.scripted.faults import (
    endless_line,
    error_in_stream,
    garbage,
    html,
    raw,
    redirect,
    reset,
    silence,
    status,
    truncated,
)
from tests.scripted.replies import Reply, envelope, say, say_many, text
from tests.scripted.server import ScriptedUpstream, Step

__all__ = [
    "ANONYMOUS",
    "Call",
    "Exchange",
    "Reply",
    "ScriptedUpstream",
    "Step",
    "completion",
    "delta",
    "endless_line",
    "envelope",
    "error_in_stream",
    "garbage",
    "html",
    "raw",
    "redirect",
    "reset",
    "say",
    "say_many",
    "silence",
    "status",
    "text",
    "truncated",
]
