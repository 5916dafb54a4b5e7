"""The library's tables. The migrations create them; a test holds the two together."""

from __future__ import annotations

from piccolo.columns import (
    JSONB,
    UUID,
    Array,
    BigInt,
    Bytea,
    Column,
    ForeignKey,
    Integer,
    Text,
    Timestamptz,
)
from piccolo.columns.readable import Readable
from piccolo.table import Table


class TSVector(Column):
    """Postgres's own type for the words of a text, which Piccolo lacks."""

    value_type = str


class Collection(Table):
    """Documents of one owner under a name. `dimension` is that of its vectors, null before the
    first. `index_id` names its index in Chroma, `stale_indexes` those to be dropped there."""

    id = UUID(primary_key=True)
    owner = Text()
    name = Text()
    embedder = Text()
    dimension = Integer(null=True, default=None)
    index_id = UUID()
    stale_indexes = Array(base_column=UUID())
    created_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)

    @classmethod
    def get_readable(cls) -> Readable:
        return Readable(template="%s of %s", columns=[cls.name, cls.owner])


class Document(Table):
    """`content` is what was given, byte for byte: an index can be rebuilt from it.

    `state` is pending, indexing, ready or failed. `fence` rises each time a process takes it up,
    which it may while no other one's lease lasts. `place` is where it stands in the queue: of each
    owner about one document stands at each place.
    """

    id = UUID(primary_key=True)
    collection_id = ForeignKey(Collection, null=False)
    source = Text(null=True, default=None)
    metadata = JSONB()
    kind = Text()
    content = Bytea(secret=True)
    content_hash = Bytea(secret=True)
    state = Text()
    error = Text(null=True, default=None)
    passages = Integer()
    indexed = Integer()
    attempt = Integer()
    fence = BigInt()
    place = BigInt()
    lease_until = Timestamptz()
    created_at = Timestamptz()
    updated_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)

    @classmethod
    def get_readable(cls) -> Readable:
        return Readable(template="%s (%s)", columns=[cls.source, cls.id])


class Passage(Table):
    """A slice of a document's text. `words` are its stems, and the collection as one more."""

    document_id = ForeignKey(Document, null=False, primary_key=True)
    ordinal = Integer()
    position = Integer()
    text = Text()
    words = TSVector()
