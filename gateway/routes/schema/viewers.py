"""`/schema` and what is below it: the OpenAPI document, and pages that show it."""

from __future__ import annotations

import asyncio

from litestar import Request, Router
from litestar.datastructures import State
from litestar.openapi.plugins import (
    JsonRenderPlugin,
    OpenAPIRenderPlugin,
    RapidocRenderPlugin,
    RedocRenderPlugin,
    StoplightRenderPlugin,
    SwaggerRenderPlugin,
    YamlRenderPlugin,
)

from gateway.auth import Principal

Asking = Request[Principal, str, State]


class _Yaml(YamlRenderPlugin):
    """Writes the document once: in YAML this takes as long as to make it."""

    def __init__(self) -> None:
        super().__init__()
        self._text: bytes | None = None

    def render(self, request: Asking, openapi_schema: dict[str, object]) -> bytes:
        if self._text is None:
            self._text = super().render(request, openapi_schema)
        return self._text


def viewers() -> tuple[list[OpenAPIRenderPlugin], Router]:
    """The pages, and the router that they join. The first request waits for the document, which
    takes a second. A thread makes it, so that no other request waits."""
    yaml = _Yaml()
    making = asyncio.Lock()

    def make(request: Asking) -> None:
        document = request.app.openapi_schema.to_schema()
        if request.url.path.endswith((".yaml", ".yml")):
            yaml.render(request, document)

    # A function, since Litestar copies a router with all that it holds, methods' objects too.
    async def prepare(request: Asking) -> None:
        async with making:
            await asyncio.to_thread(make, request)

    pages = (RedocRenderPlugin(), RapidocRenderPlugin(), StoplightRenderPlugin())
    router = Router("/schema", route_handlers=[], include_in_schema=False, before_request=prepare)
    # The first is what `/schema` itself shows.
    return [*pages, SwaggerRenderPlugin(), JsonRenderPlugin(), yaml], router
