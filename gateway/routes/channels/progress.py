"""A document's channel on the wire: the document as it stands, whenever that has changed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from uuid import UUID

import msgspec

from gateway import ids
from gateway.errors import NotFound
from gateway.retrieval.documents.watch import Lookout, Sight
from gateway.routes.library.wire import DocumentAnswer, document_answer
from gateway.streams.feed import no_channel
from gateway.streams.sse import event

PREFIX = f"{ids.DOCUMENT}_"


class DocumentNow(msgspec.Struct, frozen=True, tag_field="type", tag="document"):
    """`document` is the body of its GET. One that is `ready` or `failed` is the last."""

    document: DocumentAnswer


class DocumentDeleted(msgspec.Struct, frozen=True, tag_field="type", tag="document.deleted"):
    """The last, too."""

    document_id: str


def read_channel(channel: str) -> UUID:
    """Raises NotFound."""
    try:
        return ids.read(ids.DOCUMENT, channel)
    except NotFound:
        raise no_channel() from None


async def progress(lookout: Lookout) -> AsyncGenerator[bytes, None]:
    while (sight := await lookout.next()) is not None:
        yield b"id: %d\n" % sight.version + _event(lookout.onlooker.document_id, sight)


def _event(document_id: UUID, sight: Sight) -> bytes:
    if sight.document is None:
        deleted = DocumentDeleted(ids.show(ids.DOCUMENT, document_id))
        return event("document.deleted", msgspec.json.encode(deleted))
    return event("document", msgspec.json.encode(DocumentNow(document_answer(sight.document))))
