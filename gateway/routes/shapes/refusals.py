"""Errors as most doors answer them, and their description for the OpenAPI document."""

from __future__ import annotations

from litestar.openapi import ResponseSpec
from msgspec import Struct


class ErrorObject(Struct, kw_only=True):
    message: str
    type: str
    param: str | None
    code: str | None


class Refusal(Struct, kw_only=True):
    error: ErrorObject


def refusal(description: str) -> ResponseSpec:
    return ResponseSpec(Refusal, description=description, generate_examples=False)


BAD = {400: refusal("The request breaks a rule; `param` names what does.")}
MISSING = {404: refusal("It is not there, or not yours to see.")}
