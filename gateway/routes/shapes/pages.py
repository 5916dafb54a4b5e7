"""How lists are asked for, page by page."""

from __future__ import annotations

from typing import Annotated

from litestar.params import QueryParameter

Limit = Annotated[int, QueryParameter(ge=1, le=100, description="How many a page holds at most.")]
Cursor = Annotated[str | None, QueryParameter(description="`next_cursor` of the page before.")]
