"""What goes wrong with a remote agent, as errors. No sentence holds an address, a key or words of
the other gateway's: its codes are repeated if they are known.

| code                  | status | what happened                                            |
|-----------------------|--------|----------------------------------------------------------|
| `remote_forbidden`    | 502    | its address is private and not allowed by the operator   |
| `remote_unavailable`  | 503    | no connection or a broken one, 408, 5xx                  |
| `remote_rate_limited` | 429    | 429                                                      |
| `remote_timeout`      | 504    | silent for too long, or the time was used up             |
| `remote_refused`      | 502    | 401, 403 or 404: no key for it, or a wrong one           |
| `remote_rejected`     | 502    | any other 4xx                                            |
| `remote_redirect`     | 502    | 3xx                                                      |
| `remote_invalid`      | 502    | not HTTP, not JSON, or no session                        |
| `remote_too_large`    | 502    | more than an answer may have                             |
| `remote_manual`       | 502    | it waits for somebody although it was to work by itself  |
| `remote_failed`       | 502    | its session failed                                       |
"""

from __future__ import annotations

from gateway.errors import UpstreamError

SPEAKABLE = {
    "agency_deleted",
    "agent_not_found",
    "insufficient_scope",
    "invalid_api_key",
    "missing_api_key",
    "session_expired",
    "too_many_hops",
    "turn_cancelled",
    "turn_failed",
    "upstream_rate_limited",
    "upstream_timeout",
    "upstream_unavailable",
}
"""The other gateway's codes that may be repeated. Other words could speak to our agents."""


class Unbegun(UpstreamError):
    """The other gateway has done nothing: asking again does nothing twice."""


def of_status(status: int, word: str | None, retry_after: int | None) -> UpstreamError:
    """Returns the error for an answer that is not a success. `retry_after` is in seconds."""
    told = f"HTTP {status}, {word}" if word in SPEAKABLE else f"HTTP {status}"
    if 300 <= status < 400:
        return UpstreamError(
            "The remote agent's gateway redirects, which is not followed.", code="remote_redirect"
        )
    if status in (401, 403, 404):
        sentence = f"The remote agent's gateway does not let us in ({told})."
        return UpstreamError(sentence, code="remote_refused")
    if status == 429:
        sentence = f"The remote agent's gateway has had too many requests ({told})."
        return Unbegun(
            sentence,
            status=429,
            code="remote_rate_limited",
            transient=True,
            retry_after=retry_after,
        )
    if status == 408 or status >= 500:
        return _unavailable(
            f"The remote agent is not available now ({told}).",
            begun=status != 503,
            retry_after=retry_after,
        )
    sentence = f"The remote agent's gateway rejected the request ({told})."
    return UpstreamError(sentence, code="remote_rejected")


def _unavailable(sentence: str, *, begun: bool, retry_after: int | None = None) -> UpstreamError:
    kind = UpstreamError if begun else Unbegun
    return kind(
        sentence,
        status=503,
        code="remote_unavailable",
        transient=True,
        retry_after=retry_after,
    )


def forbidden() -> UpstreamError:
    return UpstreamError(
        "The remote agent's address is in a network that this gateway does not call.",
        code="remote_forbidden",
    )


def unreachable() -> UpstreamError:
    return _unavailable("The remote agent can't be reached.", begun=False)


def broken() -> UpstreamError:
    return _unavailable("The connection to the remote agent broke.", begun=True)


def timed_out(seconds: float) -> UpstreamError:
    return UpstreamError(
        f"The remote agent took longer than the {seconds:.3g} s it was given.",
        status=504,
        code="remote_timeout",
        transient=True,
    )


def invalid() -> UpstreamError:
    return UpstreamError(
        "What the remote agent's gateway answers can't be understood.", code="remote_invalid"
    )


def too_large() -> UpstreamError:
    return UpstreamError("The remote agent's answer is too large.", code="remote_too_large")


def manual(state: str) -> UpstreamError:
    """`state` is one that the Agents API knows."""
    return UpstreamError(
        f"The remote agent waits in the state '{state}', although it was to work by itself.",
        code="remote_manual",
    )


def failed(word: str | None) -> UpstreamError:
    told = f" ({word})" if word in SPEAKABLE else ""
    return UpstreamError(f"The remote agent failed{told}.", code="remote_failed")
