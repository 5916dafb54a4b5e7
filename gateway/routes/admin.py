"""`/admin/`: the operator's pages over all tables, once there is an account for them."""

from __future__ import annotations

from typing import cast

from litestar import asgi
from litestar.response import Response
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from gateway.admin.site import AdminSite
from gateway.errors import NotFound
from gateway.routes.http.errors import JSON, describe, render
from gateway.routes.http.guards import OWN_DOOR

PATH = "/admin"


@asgi(PATH, is_mount=True, copy_scope=True, opt={OWN_DOOR: True})
async def admin_pages(scope: Scope, receive: Receive, send: Send) -> None:
    """They ask for a name and a password of their own: an API key opens nothing here."""
    site = cast("AdminSite", scope["litestar_app"].state.admin)
    app = await site.app()
    if app is None:
        problem = describe(NotFound("There is nothing here."))
        answer = Response(render(problem, PATH), status_code=problem.status, media_type=JSON)
        await answer.to_asgi_response(None, None)(scope, receive, send)  # type: ignore[arg-type]
        return
    raw = scope["raw_path"].decode("latin-1").partition("?")[0]
    path = raw if raw.startswith(PATH) else PATH + scope["path"]
    await app({**scope, "root_path": PATH, "path": path}, receive, send)  # type: ignore[arg-type]


ROUTES: list[ControllerRouterHandler] = [admin_pages]
