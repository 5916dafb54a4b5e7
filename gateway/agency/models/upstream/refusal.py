"""Why an upstream refuses a request, out of the bodies that providers send with 400 and 422.

The words are the upstream's: they serve to find out what it does not take. Whoever shows them to
somebody decides that on its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

MOST = 1000
"""Characters of a message that are looked at: what follows may repeat the request."""

CLIENTS = {
    "content_filter",
    "content_policy_violation",
    "context_length_exceeded",
    "image_parse_error",
    "invalid_base64",
    "invalid_image",
    "invalid_image_format",
    "invalid_image_url",
}
"""Codes for what a client has sent, which no other request of ours would mend."""

FINAL = CLIENTS | {"model_not_found", "invalid_api_key", "insufficient_quota"}

_ROLES = re.compile(
    r"roles? must alternate|(?:must|should) alternate (?:between|with)"
    r"|requests? alternate between|must start with a user message"
    r"|\bsystem (?:role|message|prompt|instruction)s?\b[^.]{0,60}\b(?:not|n't|unsupported)\b"
    r"|\b(?:unsupported|not support)\b[^.]{0,60}(?:\bsystem (?:role|message|prompt)|'system')"
    r"|developer instruction is not enabled"
    r"|only (?:the )?'?user'?,? (?:and )?'?assistant'?(?:,? and '?tool'?)? roles are supported"
    r"|first message must (?:be|have|use)[^.]{0,40}\buser\b",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"maximum context length|context (?:length|window|size)[^.]{0,40}exceed|exceed[a-z]*"
    r"[^.]{0,40}context (?:length|window|size)|prompt is too long"
    r"|too large for model with \d+ maximum|input token count[^.]{0,40}exceeds"
    r"|input is too long|longer than the (?:maximum )?model|maximum prompt length"
    r"|too long to fit into the model|exceeded model token limit|range of input length"
    r"|too many tokens: total|provide a shorter input|`inputs` (?:must have less|tokens \+)",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content management policy|content[_ ]filter(?:ed|ing)?\b|content exists risk"
    r"|(?:input|prompt) was flagged|inappropriate content",
    re.IGNORECASE,
)
_OF_BOUND = re.compile(r"max_(?!new_)\w*tokens|max_completion_tokens")
_OF_VALUE = re.compile(
    r"\btoo (?:large|small|high|low|long)\b|\bmust be\b|only the default", re.IGNORECASE
)
_LOCATION = re.compile(r"""['"]loc['"]: [(\[]['"]body['"], ['"](\w+)['"]""")
_ROOT = re.compile(r"[A-Za-z_]+")
_WRITTEN: tuple[Callable[[str], str], ...] = (
    lambda name: rf"""['"`]{re.escape(name)}['"`.\[]""",
    lambda name: rf"(?<!\w){re.escape(name)}(?!\w)",
    lambda name: rf"(?i:(?<!\w){re.escape(name).replace('_', '[_ ]?')}(?!\w))",
)
"""How a sentence may name a parameter, surest first; the last finds xAI's `presencePenalty`."""


@dataclass(frozen=True, slots=True)
class UpstreamRefusal:
    """`params` are those that the upstream names where a program looks for them."""

    message: str = ""
    code: str | None = None
    params: tuple[str, ...] = ()

    @property
    def final(self) -> bool:
        """True if the request would be refused in any form."""
        return self.reason in FINAL

    @property
    def reason(self) -> str | None:
        """The code, or what it would be if the upstream used OpenAI's."""
        if self.code in FINAL:
            return self.code
        if not self.params and _FILTERED.search(self.message):
            return "content_filter"
        if self.code == "exceed_context_size_error":
            return "context_length_exceeded"
        too_long = _TOO_LONG.search(self.message) and not _OF_BOUND.search(self.message)
        return "context_length_exceeded" if too_long else self.code

    @property
    def of_roles(self) -> bool:
        return bool(_ROLES.search(self.message))

    @property
    def of_value(self) -> bool:
        """True if the parameter is known and only its value is refused."""
        return self.code in ("unsupported_value", "invalid_value") or bool(
            _OF_VALUE.search(self.message)
        )

    @property
    def elsewhere(self) -> bool:
        """True if the refused part is named and can't be left out."""
        return bool(self.params) and self.params[0] in ("messages", "model")

    def names(self, sent: Collection[str]) -> frozenset[str]:
        """Which of the parts that were sent are refused."""
        if named := frozenset(self.params).intersection(sent):
            return named
        if self.params:
            return frozenset()
        for written in _WRITTEN:
            if found := frozenset(name for name in sent if re.search(written(name), self.message)):
                return found
        return frozenset()


def read(body: bytes, *, passed_on: bool = True) -> UpstreamRefusal:
    """Whatever stands in a body. One that says nothing gives an empty refusal. `passed_on` says
    whether it may hold another provider's."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        return UpstreamRefusal(body.decode("utf-8", "replace")[:MOST])
    error = _error(value)
    if not isinstance(error, dict):
        return UpstreamRefusal(error[:MOST] if isinstance(error, str) else "")
    if passed_on and (own := read(_passed_on(error), passed_on=False)).message:
        return own
    message, details = _message(error)
    param = error.get("param")
    params = [param] if isinstance(param, str) else [*_locations(details)]
    params = params or _LOCATION.findall(message[:MOST])
    words = [error.get("code"), error.get("type")]
    known = [word for word in words if isinstance(word, str)]
    code = next((word for word in known if word in FINAL), known[0] if known else None)
    return UpstreamRefusal(message[:MOST], code, tuple(root for p in params if (root := _root(p))))


def _error(value: object) -> object:
    """OpenAI's object under `error`; Google's in a list; vLLM's, Mistral's and FastAPI's bare."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if isinstance(value, dict) and (error := value.get("error")):
        return error
    return value


def _passed_on(error: dict[str, object]) -> bytes:
    """The body of the provider that OpenRouter asked."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str):
        return raw.encode("utf-8", "replace")
    return json.dumps(raw).encode() if isinstance(raw, dict) else b""


def _message(error: dict[str, object]) -> tuple[str, object]:
    """The sentence, and FastAPI's list of what is wrong where, if there is one."""
    message, details = error.get("message"), error.get("detail")
    if isinstance(message, dict):
        details = message.get("detail")
    if isinstance(message, str):
        return message, details
    told = json.dumps(details) if details is not None and not isinstance(details, str) else details
    return told if isinstance(told, str) else "", details


def _locations(details: object) -> Iterator[str]:
    if isinstance(details, list):
        for detail in details:
            match detail:
                case {"loc": ["body", str(name), *_]} | {"loc": [str(name), *_]}:
                    yield name


def _root(param: str) -> str | None:
    """`response_format` of `response_format.json_schema` and of `body.response_format[0]`."""
    found = _ROOT.match(param.removeprefix("body."))
    return found[0] if found else None
