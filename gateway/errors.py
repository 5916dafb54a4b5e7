"""Every failure that a caller can see, with its HTTP status, type, code and sentence.

GatewayError
├── InvalidRequest 400        the request can't be understood or breaks a rule
├── Unauthenticated 401       no key, or one that is not (or no longer) valid
├── Forbidden 403             the key lacks a scope
├── NotFound 404              not there, or not yours to see
├── TooSlow 408               the body did not come in time
├── Conflict 409              the state of things forbids it
├── VersionMismatch 412       it has changed since the version that the caller knows
├── UnsupportedEncoding 415   the body is packed in a way that is not read
├── IdempotencyMismatch 422   a key was used before with another body
├── HeadersTooLarge 431       more headers than a request needs
├── TurnCancelled 409         the turn was cancelled before it had an answer
├── TurnFailed 502            the team ended without an answer
├── UpstreamError 502/503/504 a model call failed; 400 if what the client sent is refused
└── Unavailable 503           a resource of ours (Postgres, Redis, Chroma) is down

`type` and `code` follow the OpenAI API. `gateway/routes/http/errors.py` renders them for each door.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class GatewayError(Exception):
    """Root of the tree. `message` is a sentence for the caller and must hold no secret."""

    status: int = 500
    type: str = "server_error"
    code: str | None = None
    retryable: bool | None = None
    """Sent as `x-should-retry`, which overrides an SDK's own judgement. None says nothing."""
    headers: ClassVar[Mapping[str, str]] = {}
    """What HTTP wants to be sent with this status."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        beside: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or type(self).code
        self.retry_after = retry_after
        self.beside = beside or {}
        """What the body holds beside the error."""


class InvalidRequest(GatewayError):
    status = 400
    type = "invalid_request_error"


class Unauthenticated(GatewayError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": "Bearer"}


class Forbidden(GatewayError):
    status = 403
    type = "invalid_request_error"
    code = "insufficient_scope"


class NotFound(GatewayError):
    status = 404
    type = "invalid_request_error"
    code = "not_found"


class TooSlow(GatewayError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class Conflict(GatewayError):
    status = 409
    type = "invalid_request_error"
    code = "conflict"
    retryable: bool | None = False


class VersionMismatch(GatewayError):
    """What the caller knew under an ETag has changed. `beside` holds it as it is now."""

    status = 412
    type = "invalid_request_error"
    code = "version_mismatch"
    retryable: bool | None = False


class UnsupportedEncoding(GatewayError):
    status = 415
    type = "invalid_request_error"
    code = "unsupported_content_encoding"
    headers: ClassVar[Mapping[str, str]] = {"accept-encoding": "gzip, deflate"}


class IdempotencyMismatch(GatewayError):
    status = 422
    type = "invalid_request_error"
    code = "idempotency_key_reused"
    retryable: bool | None = False


class HeadersTooLarge(GatewayError):
    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class TurnCancelled(GatewayError):
    status = 409
    type = "invalid_request_error"
    code = "turn_cancelled"
    retryable: bool | None = False


class TurnFailed(GatewayError):
    """The team ended without an answer. What was said is kept on the turn.

    Not to be retried by itself: an SDK would run the whole team again, up to its limits.
    """

    status = 502
    type = "server_error"
    code = "turn_failed"
    retryable: bool | None = False


class UpstreamError(GatewayError):
    """A model call failed. `transient` says whether the same call may succeed a moment later.

    What is not transient is not to be retried by itself: an SDK would run the whole team again.
    """

    type = "upstream_error"
    code = "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        status: int = 502,
        code: str | None = None,
        param: str | None = None,
        transient: bool = False,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param, retry_after=retry_after)
        self.status = status
        self.transient = transient
        if not transient:
            self.retryable = False
        if status == 400:
            self.type = InvalidRequest.type


class Unavailable(GatewayError):
    status = 503
    type = "server_error"
    code = "unavailable"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message, retry_after=retry_after)
