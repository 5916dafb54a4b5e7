"""Reads a document from a file. As an export writes it, with a row on each line, one batch is in
memory at a time; written in another way it is read whole, and may not be as large."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import islice
from typing import BinaryIO, Final, Self, TypeVar

import msgspec

from gateway.agency.transfer.document import (
    FORMAT,
    FORMAT_VERSION,
    PARTS,
    ContextPart,
    ConversationPart,
    FilePart,
    MessagePart,
    ParticipantPart,
    StepPart,
    TurnPart,
)
from gateway.errors import InvalidRequest

ROWS: Final = 200
"""Rows of a batch."""
WHOLE: Final = 32 << 20
"""Bytes of a document that is read whole."""

_SECTION: Final = re.compile(rb'"(\w+)": \[(?:\][,}])?')
_END: Final = b"]}"
"""How the last line ends. What was cut off on its way does not."""
_ROW: Final = re.compile(rb"(\{.*\})(?:,|\],|\]\})", re.DOTALL)

Part = TypeVar("Part", bound=msgspec.Struct)


class Head(msgspec.Struct):
    format: str
    format_version: int
    conversation: ConversationPart


class _Whole(Head):
    participants: list[ParticipantPart] = []
    files: list[FilePart] = []
    messages: list[MessagePart] = []
    turns: list[TurnPart] = []
    steps: list[StepPart] = []
    contexts: list[ContextPart] = []


class DocumentFile:
    """A document. `lists` are those of one that was read whole."""

    def __init__(
        self, file: BinaryIO, head: Head, lists: Mapping[str, list[msgspec.Struct]] | None
    ) -> None:
        self._file = file
        self.head = head
        self._lists = lists

    @classmethod
    async def open(cls, file: BinaryIO) -> Self:
        """Raises InvalidRequest for what is no such document."""
        head, lists = await asyncio.to_thread(_head, file)
        if head.format != FORMAT:
            raise unreadable(f"its `format` is not {FORMAT!r}")
        if head.format_version != FORMAT_VERSION:
            raise unreadable(f"its `format_version` is not {FORMAT_VERSION}")
        return cls(file, head, lists)

    async def batches(self, name: str, part: type[Part]) -> AsyncIterator[list[Part]]:
        """A list of the document. Raises InvalidRequest."""
        rows = self._rows(name, part)
        while batch := await asyncio.to_thread(lambda: list(islice(rows, ROWS))):
            yield batch

    def _rows(self, name: str, part: type[Part]) -> Iterator[Part]:
        if self._lists is not None:
            yield from (one for one in self._lists[name] if isinstance(one, part))
            return
        self._file.seek(0)
        self._file.readline()
        within: bytes | None = None
        for line in self._file:
            text = line.rstrip(b"\r\n")
            if section := _SECTION.fullmatch(text):
                within = section[1]
            elif within is None or not (row := _ROW.fullmatch(text)):
                raise unreadable("it is not as an export writes it")
            elif within == name.encode():
                yield _decode(row[1], part)


def _head(file: BinaryIO) -> tuple[Head, Mapping[str, list[msgspec.Struct]] | None]:
    file.seek(0)
    first = file.readline().rstrip(b"\r\n")
    file.seek(max(0, file.seek(0, os.SEEK_END) - len(_END) - 2))
    if not file.read().rstrip(b"\r\n").endswith(_END):
        return _whole(file)
    try:
        return msgspec.json.decode(first.removesuffix(b",") + b"}", type=Head), None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _whole(file)


def _whole(file: BinaryIO) -> tuple[Head, Mapping[str, list[msgspec.Struct]]]:
    file.seek(0)
    content = file.read(WHOLE + 1)
    if len(content) > WHOLE:
        raise unreadable(f"with more than {WHOLE >> 20} MiB it must be written as an export is")
    whole = _decode(content, _Whole)
    return whole, {name: getattr(whole, name) for name in PARTS}


def _decode(text: bytes, type_: type[Part]) -> Part:
    """Raises InvalidRequest."""
    try:
        return msgspec.json.decode(text, type=type_)
    except msgspec.ValidationError as error:
        raise unreadable(str(error)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise unreadable("it is no JSON") from None
    except RecursionError:
        raise unreadable("it is nested too deeply") from None


def unreadable(why: str) -> InvalidRequest:
    return InvalidRequest(f"This is no exported conversation: {why}.", code="invalid_document")
