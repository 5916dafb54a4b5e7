"""What people upload, as text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import InvalidRequest
from gateway.retrieval.documents.parsing import (
    LONGEST,
    SMALL,
    DocumentKind,
    kind_of,
    of_html,
    of_pdf,
    read,
)
from tests.retrieval.files import pdf


def test_a_page_is_read_as_a_browser_shows_it() -> None:
    page = """<html><head><title>A  title</title><style>p {}</style></head>
    <body><h1>Head</h1><p>Hello <b>bold</b>
    world,<br>next line</p><script>alert(1)</script>
    <ul><li>one</li><li>two <i>three</i></li></ul>
    <pre>a\n  b</pre><table><tr><td>1</td><td>2</td></tr></table>tail &amp; end</body></html>"""
    assert of_html(page) == (
        "A title\n\nHead\n\nHello bold world,\nnext line\n\none\ntwo three\n\na\n  b\n\n1\n2\n\n"
        "tail & end"
    )


@pytest.mark.parametrize("page", ["", "<", "<p", "</p></b>", "<div>" * 10_000 + "deep"])
def test_a_broken_page_is_read_as_far_as_it_goes(page: str) -> None:
    assert of_html(page) in ("", "<", "deep")


async def test_a_large_page_is_read_as_a_small_one_is() -> None:
    script = "<script>" + "no(); " * SMALL + "</script>"
    assert (
        await read(DocumentKind.HTML, f"<p>Öl &amp; <b>ink</b></p>{script}".encode()) == "Öl & ink"
    )
    with pytest.raises(InvalidRequest, match="UTF-8"):
        await read(DocumentKind.HTML, b"\xfc" * (SMALL + 1))


def test_a_page_that_is_broken_on_purpose_holds_nobody_up() -> None:
    """So many levels would be read for minutes; the process that has them read can end."""
    reading = """
import asyncio
from gateway.retrieval.documents.parsing import DocumentKind, read
try:
    asyncio.run(asyncio.wait_for(read(DocumentKind.HTML, b"<div>" * 300_000), 1))
except TimeoutError:
    print("ended")
"""
    told = subprocess.run(
        (sys.executable, "-c", reading), capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout == "ended\n"


async def test_markdown_stays_as_it_is() -> None:
    text = "# Head\n\n- *one*\n- [two](http://x)\n"
    assert await read(DocumentKind.MARKDOWN, text.encode()) == text


async def test_a_pdf_gives_its_pages() -> None:
    text = await read(DocumentKind.PDF, pdf("The first page.", "The second page."))
    assert text == "The first page.\n\nThe second page."


@pytest.mark.parametrize("content", [b"", b"%PDF-1.4 nonsense", pdf("cut")[:200], b"\0" * 5000])
async def test_a_broken_pdf_is_said_so(content: bytes) -> None:
    with pytest.raises(InvalidRequest, match="can't be read"):
        await read(DocumentKind.PDF, content)


async def test_what_is_not_utf_8_is_said_so_but_a_byte_order_mark_helps() -> None:
    assert await read(DocumentKind.TEXT, "\ufeffgrün\0".encode()) == "grün"
    assert await read(DocumentKind.TEXT, "grün".encode("utf-16")) == "grün"
    with pytest.raises(InvalidRequest, match="UTF-8"):
        await read(DocumentKind.TEXT, "grün".encode("latin-1"))


@pytest.mark.parametrize(
    ("filename", "media_type", "kind"),
    [
        ("a.txt", "application/octet-stream", DocumentKind.TEXT),
        ("a.MD", None, DocumentKind.MARKDOWN),
        ("a.htm", "text/plain", DocumentKind.HTML),
        ("a.b.pdf", None, DocumentKind.PDF),
        ("page", "text/html; charset=utf-8", DocumentKind.HTML),
        ("readme", "text/plain", DocumentKind.TEXT),
    ],
)
def test_the_kind_is_told_by_the_ending_or_the_media_type(
    filename: str, media_type: str | None, kind: DocumentKind
) -> None:
    assert kind_of(filename, media_type) == kind


@pytest.mark.parametrize("filename", ["a.exe", "a", "", ".docx"])
def test_other_kinds_are_refused(filename: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        kind_of(filename, "application/octet-stream")
    assert refused.value.code == "unsupported_media_type"


async def test_a_document_whose_text_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="divide it"):
        await read(DocumentKind.TEXT, b"x" * (LONGEST + 1))


def test_a_small_pdf_can_not_hold_more_text_than_a_large_upload() -> None:
    """Its pages are one and the same, many times."""
    content = pdf("words " * 1_000)
    often = content.replace(b"/Kids [4 0 R]", b"/Kids [" + b"4 0 R " * 400 + b"]")
    with pytest.raises(InvalidRequest, match="divide it"):
        of_pdf(often.replace(b"/Count 1", b"/Count 400"), 100_000)


async def test_a_folder_with_a_module_of_a_librarys_name_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert "end" in await read(DocumentKind.HTML, b"<p>" + b"word " * SMALL + b"end")
