"""Documents as text. What can't be read is InvalidRequest, with a sentence that says why.

Markdown stays as it is: an agent reads its headings, lists and links better than what a renderer
leaves of them. A PDF, or a page that is not small, is read in a process of its own, which can be
ended: a file that is broken on purpose may take any time or memory.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

PATIENCE = 120.0
"""Seconds for one document. A PDF of a thousand pages takes about thirty."""
LONGEST = 20 * 1024 * 1024
"""Characters of a document's text: as many as the largest upload of plain text has. A small PDF may
hold a thousand times its size."""
TOO_LONG = f"Its text has more than {LONGEST:,} characters: divide it."
MEMORY = 1 << 30
"""Bytes of address space for a reading in a process of its own."""
SMALL = 24 * 1024
"""Bytes of a page that is read in this one. Time rises with the cube of how deep a page nests: 64
KiB take half a second at worst, in which nothing else runs, and a megabyte ten minutes."""


class DocumentKind(StrEnum):
    """What a document is made of, by its media type."""

    TEXT = "text/plain"
    MARKDOWN = "text/markdown"
    HTML = "text/html"
    PDF = "application/pdf"


_ENDINGS = {
    ".txt": DocumentKind.TEXT,
    ".text": DocumentKind.TEXT,
    ".md": DocumentKind.MARKDOWN,
    ".markdown": DocumentKind.MARKDOWN,
    ".htm": DocumentKind.HTML,
    ".html": DocumentKind.HTML,
    ".pdf": DocumentKind.PDF,
}
_PARAGRAPHS = frozenset(
    {
        *(
            "address",
            "article",
            "aside",
            "blockquote",
            "details",
            "div",
            "dl",
            "figcaption",
            "figure",
        ),
        *(
            "footer",
            "form",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "header",
            "hr",
            "main",
            "nav",
            "ol",
        ),
        *("p", "pre", "section", "summary", "table", "title", "ul"),
    }
)
_LINES = frozenset({"br", "dd", "dt", "li", "td", "th", "tr"})
_SILENT = ["script", "style", "noscript", "template", "svg", "iframe", "object"]


def kind_of(filename: str, media_type: str | None = None) -> DocumentKind:
    """Returns the kind by the ending of the name, else by the media type. Raises InvalidRequest."""
    dot = filename.rfind(".")
    if dot >= 0 and (found := _ENDINGS.get(filename[dot:].lower())):
        return found
    told = (media_type or "").partition(";")[0].strip().lower()
    if told in set(DocumentKind):
        return DocumentKind(told)
    raise InvalidRequest(
        f"{filename[:100] or 'This file'!r} is not a text, Markdown, HTML or PDF file.",
        param="file",
        code="unsupported_media_type",
    )


async def read(kind: DocumentKind, content: bytes) -> str:
    """The document's text, without NUL characters, which can't be stored."""
    try:
        async with asyncio.timeout(PATIENCE):
            text = await _read(kind, content)
    except TimeoutError:
        raise InvalidRequest(
            f"The document could not be read within {PATIENCE:.0f} seconds."
        ) from None
    if len(text) > LONGEST:
        raise InvalidRequest(TOO_LONG)
    return text.replace("\0", "")


async def _read(kind: DocumentKind, content: bytes) -> str:
    match kind:
        case DocumentKind.TEXT | DocumentKind.MARKDOWN:
            return _decoded(content)
        case DocumentKind.HTML if len(content) <= SMALL:
            return await asyncio.to_thread(of_html, _decoded(content))
        case DocumentKind.HTML | DocumentKind.PDF:
            return await _read_elsewhere(kind, content)
        case never:
            assert_never(never)


def _decoded(content: bytes) -> str:
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("The document is not UTF-8.") from None


# ---- HTML ---------------------------------------------------------------------------------------


def of_html(page: str) -> str:
    """Returns the text that a reader sees: blocks are paragraphs, white space is as a browser shows
    it."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(page)
    tree.strip_tags(_SILENT)
    root = tree.root
    return "" if root is None else _laid_out("".join(_pieces(root, exact=False)))


def _pieces(node: LexborNode, *, exact: bool) -> Iterator[str]:
    """The text of a node in order; `\\v` is a new line, `\\f` a new paragraph. An explicit stack:
    pages nest deeper than Python does."""
    stack: list[tuple[LexborNode | str, bool]] = [(node, exact)]
    while stack:
        at, exact = stack.pop()
        if isinstance(at, str):
            yield at
        elif at.tag == "-text":
            text = at.text_content or ""
            yield text.replace("\n", "\v") if exact else " ".join(f"|{text}|".split())[1:-1]
        else:
            mark = "\f" if at.tag in _PARAGRAPHS else "\v" if at.tag in _LINES else ""
            inner = [(child, exact or at.tag == "pre") for child in at.iter(include_text=True)]
            stack += [(mark, False), *reversed(inner), (mark, False)]


def _laid_out(marked: str) -> str:
    paragraphs = []
    for paragraph in marked.split("\f"):
        lines = [line.rstrip() for line in paragraph.split("\v")]
        if told := "\n".join(line for line in lines if line.strip()):
            paragraphs.append(told.lstrip(" ") if "\n" not in told else told)
    return "\n\n".join(paragraphs)


# ---- in a process of its own --------------------------------------------------------------------


async def _read_elsewhere(kind: DocumentKind, content: bytes) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway.retrieval.documents.parsing", kind),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        text, _ = await process.communicate(content)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == _REFUSED:
        raise InvalidRequest(text.decode())
    if process.returncode != 0:
        what = "PDF" if kind is DocumentKind.PDF else "page"
        raise InvalidRequest(f"This {what} can't be read: it is broken, or too large.")
    return text.decode()


_REFUSED = 3
"""The exit code of a reading that says why it failed."""


def of_pdf(content: bytes, longest: int = LONGEST) -> str:
    """Raises InvalidRequest, or whatever pypdf meets in a broken file."""
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise InvalidRequest("This PDF is encrypted.")
    pages: list[str] = []
    length = 0
    for page in reader.pages:
        pages.append(page.extract_text().strip())
        length += len(pages[-1])
        if length > longest:
            raise InvalidRequest(TOO_LONG)
    return "\n\n".join(pages)


def _main(kind: DocumentKind) -> int:
    import resource

    with suppress(ValueError, OSError):  # macOS knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    content = sys.stdin.buffer.read()
    try:
        told, code = of_pdf(content) if kind is DocumentKind.PDF else of_html(_decoded(content)), 0
    except InvalidRequest as error:
        told, code = error.message, _REFUSED
    sys.stdout.buffer.write(told.encode("utf-8", "replace"))
    return code


if __name__ == "__main__":
    sys.exit(_main(DocumentKind(sys.argv[1])))
