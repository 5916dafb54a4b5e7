"""A caller of the gateway, as tests have them at each door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import httpx

Body = dict[str, Any]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@dataclass
class Client:
    """`http` carries the caller's key. The addresses of a door begin with its `prefix`."""

    prefix: ClassVar[str] = ""

    http: httpx.AsyncClient

    @property
    def path(self) -> str:
        return self.prefix

    async def send(self, method: str, path: str = "", **more: Any) -> httpx.Response:
        return await self.http.request(method, self.path + path, **more)

    async def call(self, method: str, path: str = "", status: int = 200, **more: Any) -> Any:
        answer = await self.send(method, path, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def refused(
        self, method: str, path: str, status: int, code: str | None = None, **more: Any
    ) -> Body:
        """The error, in the shape of OpenAI's."""
        answer = await self.send(method, path, **more)
        assert answer.status_code == status, answer.text
        error: Body = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert code is None or error["code"] == code
        return error
