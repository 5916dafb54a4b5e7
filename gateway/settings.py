"""What the operator may set, read once from the environment and then frozen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path

from gateway.errors import InvalidRequest
from gateway.network.addresses import is_base, is_key, is_server, origin, page_origin


@dataclass(frozen=True, slots=True)
class Settings:
    """One field per variable; the README's table explains each.

    Durations are seconds. `None` means that the embedded default serves.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    data_dir: Path = Path(".gateway")
    database_url: str | None = field(default=None, repr=False)
    prepared_statements: bool = True
    redis_url: str | None = field(default=None, repr=False)
    chroma_url: str | None = None
    openai_api_key: str | None = field(default=None, repr=False)
    openai_base_url: str | None = None
    default_model: str = "gpt-4o-mini"
    models: tuple[str, ...] = ()
    """Plain models by name, or `*` alone for all that the upstream lists."""
    embedding_model: str | None = None
    embedding_aliases: tuple[str, ...] = ()
    root_key: str | None = field(default=None, repr=False)
    root_key_file: Path | None = None
    """Where `root_key` was read, if GATEWAY_ROOT_KEY_FILE named it."""
    lease: float = 15.0
    ping: float = 10.0
    send_timeout: float = 30.0
    cors_origins: tuple[str, ...] = ()
    """`*` alone, or origins as browsers send them."""
    egress_allow: tuple[str, ...] = ()
    remote_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By origin, as `addresses.origin` spells it."""

    @property
    def rehearses(self) -> bool:
        """True if the built-in rehearsal model answers, because no upstream is set."""
        return self.openai_api_key is None and self.openai_base_url is None


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises InvalidRequest naming the variable that can't be used."""
    text = {name: value for name in VARIABLES if (value := environ.get(name, "").strip())}
    files = {name: Path(path) for name in SECRETS if (path := environ.get(f"{name}_FILE"))}
    text |= {name: _secret(name, file, text) for name, file in files.items()}
    default = Settings()
    settings = Settings(
        host=text.get("GATEWAY_HOST", default.host),
        port=_number(text, "GATEWAY_PORT", default.port, low=0, high=65535),
        workers=_number(text, "GATEWAY_WORKERS", default.workers, low=1, high=256),
        data_dir=Path(text.get("GATEWAY_DATA_DIR", str(default.data_dir))),
        database_url=text.get("DATABASE_URL"),
        prepared_statements=_switch(text, "GATEWAY_PREPARED_STATEMENTS", default=True),
        redis_url=text.get("REDIS_URL"),
        chroma_url=text.get("CHROMA_URL"),
        openai_api_key=text.get("OPENAI_API_KEY"),
        openai_base_url=text.get("OPENAI_BASE_URL"),
        default_model=text.get("GATEWAY_DEFAULT_MODEL", default.default_model),
        models=_models(text.get("GATEWAY_MODELS", "")),
        embedding_model=text.get("GATEWAY_EMBEDDING_MODEL"),
        embedding_aliases=_aliases(text.get("GATEWAY_EMBEDDING_ALIASES", "")),
        root_key=text.get("GATEWAY_ROOT_KEY"),
        root_key_file=files.get("GATEWAY_ROOT_KEY"),
        lease=float(_number(text, "GATEWAY_LEASE_S", int(default.lease), low=1, high=3600)),
        ping=float(_number(text, "GATEWAY_PING_S", int(default.ping), low=1, high=3600)),
        send_timeout=float(
            _number(text, "GATEWAY_SEND_TIMEOUT_S", int(default.send_timeout), low=1, high=3600)
        ),
        cors_origins=_origins(text.get("GATEWAY_CORS_ORIGINS", "")),
        egress_allow=_networks(text.get("GATEWAY_EGRESS_ALLOW", "")),
        remote_keys=_keys(text.get("GATEWAY_REMOTE_KEYS", "")),
    )
    _refuse_no_host(settings.host)
    _refuse_no_addresses(text)
    _refuse_no_keys(text)
    _refuse_lonely_workers(settings)
    _refuse_models_of_no_upstream(settings)
    return settings


VARIABLES = (
    "GATEWAY_HOST",
    "GATEWAY_PORT",
    "GATEWAY_WORKERS",
    "GATEWAY_DATA_DIR",
    "DATABASE_URL",
    "GATEWAY_PREPARED_STATEMENTS",
    "REDIS_URL",
    "CHROMA_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "GATEWAY_DEFAULT_MODEL",
    "GATEWAY_MODELS",
    "GATEWAY_EMBEDDING_MODEL",
    "GATEWAY_EMBEDDING_ALIASES",
    "GATEWAY_ROOT_KEY",
    "GATEWAY_LEASE_S",
    "GATEWAY_PING_S",
    "GATEWAY_SEND_TIMEOUT_S",
    "GATEWAY_CORS_ORIGINS",
    "GATEWAY_EGRESS_ALLOW",
    "GATEWAY_REMOTE_KEYS",
)
SECRETS = (
    "DATABASE_URL",
    "REDIS_URL",
    "OPENAI_API_KEY",
    "GATEWAY_ROOT_KEY",
    "GATEWAY_REMOTE_KEYS",
)
"""Variables that hold a key or a password. `<name>_FILE` names a file that holds the value instead:
an environment is shown by `docker inspect`, `systemctl show` and `/proc`, and inherited."""


def _secret(name: str, file: Path, text: Mapping[str, str]) -> str:
    """The content of `file`, without the white space around it. No error tells it."""
    if name in text:
        raise InvalidRequest(f"{name} and {name}_FILE are both set: unset one of them.")
    try:
        value = file.read_text("utf-8").strip()
    except OSError as error:
        raise InvalidRequest(f"{name}_FILE can't be read: {error.strerror}: {file}.") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name}_FILE must name a text file; {file} is none.") from None
    if not value:
        raise InvalidRequest(f"{name}_FILE names {file}, which is empty.")
    return value


def misspelt(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that look like settings and are none, each with the setting that it resembles."""
    known = [*VARIABLES, *(f"{name}_FILE" for name in SECRETS)]
    found = {}
    for name in environ:
        if name.startswith("GATEWAY_") and name not in known:
            for near in get_close_matches(name, known, 1, cutoff=0.85):
                found[name] = near
    return found


def _refuse_no_host(host: str) -> None:
    if "/" in host or host.count(":") == 1:
        raise InvalidRequest(
            "GATEWAY_HOST must be a name or an address such as 127.0.0.1, without a scheme, a port "
            f"or a path, not {host!r}."
        )


def _refuse_no_addresses(text: Mapping[str, str]) -> None:
    """Told here, in a sentence, and not by each worker that can't start. No error tells a value,
    which may hold a password."""
    for name, (example, schemes) in _SERVERS.items():
        if name in text and not is_server(text[name], *schemes):
            raise InvalidRequest(f"{name} must look like {example}.")
    if "OPENAI_BASE_URL" in text and not is_base(text["OPENAI_BASE_URL"]):
        raise InvalidRequest(
            "OPENAI_BASE_URL must look like https://api.openai.com/v1, without a user name, "
            "password or query."
        )


_SERVERS = {
    "REDIS_URL": ("redis://127.0.0.1:6379", ("redis", "rediss")),
    "CHROMA_URL": ("http://127.0.0.1:8000", ("http", "https")),
}


def _refuse_no_keys(text: Mapping[str, str]) -> None:
    for name in ("OPENAI_API_KEY", "GATEWAY_ROOT_KEY"):
        if not is_key(text.get(name, "")):
            raise InvalidRequest(f"{name} holds a blank or a character that no key has.")


def _number(text: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    try:
        value = int(text.get(name, default))
    except ValueError:
        raise InvalidRequest(f"{name} must be a whole number, not {text[name]!r}.") from None
    if not low <= value <= high:
        raise InvalidRequest(f"{name} must lie between {low} and {high}, not {value}.")
    return value


def _switch(text: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = text.get(name, str(default)).lower()
    if value not in ("true", "false"):
        raise InvalidRequest(f"{name} must be true or false, not {text[name]!r}.")
    return value == "true"


def _origins(text: str) -> tuple[str, ...]:
    """`https://app.example.com,http://localhost:3000`, or `*` alone."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if parts == ["*"]:
        return ("*",)
    origins = []
    for part in parts:
        try:
            origins.append(page_origin(part))
        except ValueError:
            raise InvalidRequest(_NO_ORIGIN.get(part, _NO_ORIGIN[""]).format(part)) from None
    return tuple(origins)


_NO_ORIGIN = {
    "*": "GATEWAY_CORS_ORIGINS is either * alone or a list of origins.",
    "null": "GATEWAY_CORS_ORIGINS can't name null: pages of files and sandboxes of any site "
    "send it. To let them in, let everybody in with *.",
    "": "GATEWAY_CORS_ORIGINS holds origins such as https://app.example.com or "
    "http://localhost:3000, without a path and without wildcards, with commas between, "
    "or * alone; {!r} is none.",
}


def _networks(text: str) -> tuple[str, ...]:
    """`10.1.0.0/16,fd00::/8`; an address alone is a network of one."""
    networks = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            networks.append(str(ip_network(part)))
        except ValueError as error:
            raise InvalidRequest(
                f"GATEWAY_EGRESS_ALLOW holds networks such as 10.1.0.0/16: {error}."
            ) from None
    return tuple(networks)


def _keys(text: str) -> dict[str, str]:
    """`https://agents.example.com=key`, several with commas between. No error tells a key."""
    keys: dict[str, str] = {}
    for number, part in enumerate(text.split(",") if text else (), 1):
        place, _, key = (piece.strip() for piece in part.partition("="))
        try:
            usable = is_key(key) and len(key) > 0
            bare = place.removesuffix("/").count("/") == 2 and not set(place) & set("?#")
            if not usable or not bare:
                raise ValueError
            keys[origin(place)] = key
        except ValueError:
            raise InvalidRequest(
                f"Entry {number} of GATEWAY_REMOTE_KEYS must look like "
                "https://agents.example.com=key, without a path, a user name or spaces."
            ) from None
    return keys


def _models(text: str) -> tuple[str, ...]:
    """`gpt-4o-mini,gpt-4o`, each once; or `*`."""
    names = _names(text)
    if "*" in names and len(names) > 1:
        raise InvalidRequest("GATEWAY_MODELS is a list of names, or * alone for all models.")
    if any(name.startswith("agency/") for name in names):
        raise InvalidRequest("GATEWAY_MODELS names models of the upstream: agencies need no entry.")
    return names


def _aliases(text: str) -> tuple[str, ...]:
    names = _names(text)
    if "wordllama" in names:
        raise InvalidRequest("GATEWAY_EMBEDDING_ALIASES can't hold wordllama, which is a model.")
    return names


def _names(text: str) -> tuple[str, ...]:
    """`a, b`, each once."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def _refuse_models_of_no_upstream(settings: Settings) -> None:
    """The rehearsal stands in for a team's models; as a plain model it would be taken for one."""
    named = {"GATEWAY_MODELS": settings.models, "GATEWAY_EMBEDDING_MODEL": settings.embedding_model}
    for variable, value in named.items():
        if value and settings.rehearses:
            raise InvalidRequest(
                f"{variable} names models of the upstream: set OPENAI_API_KEY or OPENAI_BASE_URL, "
                "too."
            )


def _refuse_lonely_workers(settings: Settings) -> None:
    shared = {"DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    missing = [name for name, value in shared.items() if value is None]
    if settings.workers > 1 and missing:
        raise InvalidRequest(
            f"GATEWAY_WORKERS={settings.workers} needs {' and '.join(missing)}: "
            "several processes can share neither the embedded Postgres nor the memory broker."
        )
