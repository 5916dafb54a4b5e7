"""What `gateway serve` says to whoever started it, once it can be called."""

from __future__ import annotations

import http.client
import os
import time

import click

from gateway import __version__
from gateway.cli.first_start import RootKey, Start
from gateway.settings import Settings

FIRST_LOOK = 0.3
"""Seconds. Workers are forked in the first of them, and this is a thread."""
PATIENCE = 60.0


def announce(settings: Settings, start: Start) -> None:
    """Wait until the gateway is ready, then tell how to call it."""
    time.sleep(FIRST_LOOK)
    host = _reachable(settings.host)
    deadline = time.monotonic() + PATIENCE
    while not is_ready(host, settings.port):
        if time.monotonic() > deadline:
            click.echo("The gateway is not ready; `gateway doctor` says what is missing.")
            return
        time.sleep(0.05)
    click.echo(told(settings, start))


def is_ready(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def told(settings: Settings, start: Start) -> str:
    """The whole text; the example can be pasted as it stands."""
    host = _reachable(settings.host)
    shown = f"[{host}]" if ":" in host else host
    agency = "" if start.agency_id is None else f"/api/agency/{start.agency_id}"
    base_url = f"http://{shown}:{settings.port}{agency}"
    where, first, expression = _key(settings, start.key)
    lines = [
        f"Agency gateway {__version__}",
        "",
        f"  base URL  {base_url}",
        f"  key       {where}",
        *_model(settings),
    ]
    if _is_proxied():
        lines.append(f"  proxy     HTTP_PROXY is set: clients need NO_PROXY={host}.")
    if start.agency_id is None:
        return "\n".join([*lines, "", NO_AGENCY, ""])
    call = EXAMPLE.format(start.agency_id)
    return "\n".join(
        [
            *lines,
            "",
            "Paste this into .venv/bin/python:",
            "",
            first,
            f"client = OpenAI(base_url={base_url!r}, api_key={expression})",
            f"print(client.chat.completions.create({call}).choices[0].message.content)",
            "",
        ]
    )


EXAMPLE = 'model="agency/{}", messages=[{{"role": "user", "content": "A web page for a bakery?"}}]'
NO_AGENCY = (
    "There is no agency any more. Make one: gateway agency apply FILE, "
    "or POST /api/agencies (see docs/api.md)."
)


def _model(settings: Settings) -> list[str]:
    if settings.rehearses:
        return [
            "  model     REHEARSAL: a built-in stand-in answers, no language model.",
            "            Set OPENAI_API_KEY or OPENAI_BASE_URL to have one.",
        ]
    return [f"  model     {settings.default_model}"]


def _key(settings: Settings, key: RootKey) -> tuple[str, str, str]:
    """Returns where the key is, the example's import line, and the key as an expression."""
    plain = "from openai import OpenAI"
    if key.file is not None and key.token is not None:
        if key.fresh:
            return f"{key.token}  (kept in {key.file})", plain, repr(key.token)
        return f"kept in {key.file}", plain, f"open({str(key.file)!r}).read().strip()"
    from_environment = "from os import environ; from openai import OpenAI"
    if settings.root_key is not None:
        return "the value of GATEWAY_ROOT_KEY", from_environment, 'environ["GATEWAY_ROOT_KEY"]'
    made = "made by another machine of this database; set GATEWAY_ROOT_KEY to replace it"
    return made, from_environment, 'environ["GATEWAY_KEY"]'


def _is_proxied() -> bool:
    """Returns True if a client that is started like this process asks a proxy for the way to it."""
    return any(os.environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"))


def _reachable(host: str) -> str:
    """An address to call where the gateway listens on all of them."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
