"""What the operator may set, in one table. It is read once from the environment, and frozen."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Final, Never, TypeAlias, TypeVar, cast

from gateway.errors import InvalidRequest
from gateway.network.addresses import is_base, is_key, is_server, origin, page_origin

Value = TypeVar("Value")
VARIABLE: Final = "variable"
DATA_DIR: Final = Path(".gateway")
Reader: TypeAlias = Callable[[str, str], object]
"""Makes a value of a variable's name and its text. Raises InvalidRequest, which names it."""


@dataclass(frozen=True, slots=True)
class Variable:
    """Where a setting is read. The text of a `secret` is never shown, and `<name>_FILE` may name a
    file that holds it instead: an environment is shown by `docker inspect`, `systemctl show` and
    `/proc`, and inherited."""

    name: str
    read: Reader
    secret: bool = False


def _of(name: str, default: Value, read: Reader | None = None, *, secret: bool = False) -> Value:
    """A field that is read from the variable of this name. Its default holds if that is empty."""
    variable = Variable(name, read or _text, secret)
    value: Value = field(default=default, repr=not secret, metadata={VARIABLE: variable})
    return value


# ---- how texts are read --------------------------------------------------------------------------


def _text(_: str, text: str) -> str:
    return text


def _path(_: str, text: str) -> Path:
    return Path(text)


def _between(low: int, high: int) -> Reader:
    def read(name: str, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise InvalidRequest(f"{name} must be a whole number, not {text!r}.") from None
        if not low <= value <= high:
            raise InvalidRequest(f"{name} must lie between {low} and {high}, not {value}.")
        return value

    return read


def _seconds(name: str, text: str) -> float:
    value = _between(1, 3600)(name, text)
    return float(cast("int", value))


def _switch(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InvalidRequest(f"{name} must be true or false, not {text!r}.")
    return text.lower() == "true"


def _host(name: str, text: str) -> str:
    if "/" in text or text.count(":") == 1:
        raise InvalidRequest(
            f"{name} must be a name or an address such as 127.0.0.1, without a scheme, a port or a "
            f"path, not {text!r}."
        )
    return text


def _server(example: str, *schemes: str) -> Reader:
    """Told here, in a sentence, and not by each worker that can't start. No error tells the text,
    which may hold a password."""

    def read(name: str, text: str) -> str:
        if not is_server(text, *schemes):
            raise InvalidRequest(f"{name} must look like {example}.")
        return text

    return read


def _api(name: str, text: str) -> str:
    if not is_base(text):
        raise InvalidRequest(
            f"{name} must look like https://api.openai.com/v1, without a user name, password or "
            "query."
        )
    return text


def _key(name: str, text: str) -> str:
    if not is_key(text):
        raise InvalidRequest(f"{name} holds a blank or a character that no key has.")
    return text


def _origins(_: str, text: str) -> tuple[str, ...]:
    """`https://app.example.com,http://localhost:3000`, or `*` alone."""
    parts = [part.strip() for part in text.split(",")]
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


def _networks(_: str, text: str) -> tuple[str, ...]:
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


def _keys(_: str, text: str) -> dict[str, str]:
    """`https://agents.example.com=key`, several with commas between. No error tells a key."""
    keys: dict[str, str] = {}
    for number, part in enumerate(text.split(","), 1):
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


def _models(_: str, text: str) -> tuple[str, ...]:
    """`gpt-4o-mini,gpt-4o`, each once; or `*`."""
    names = _names(text)
    if "*" in names and len(names) > 1:
        raise InvalidRequest("GATEWAY_MODELS is a list of names, or * alone for all models.")
    if any(name.startswith("agency/") for name in names):
        raise InvalidRequest("GATEWAY_MODELS names models of the upstream: agencies need no entry.")
    return names


def _aliases(_: str, text: str) -> tuple[str, ...]:
    names = _names(text)
    if "wordllama" in names:
        raise InvalidRequest("GATEWAY_EMBEDDING_ALIASES can't hold wordllama, which is a model.")
    return names


def _names(text: str) -> tuple[str, ...]:
    """`a, b`, each once."""
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


@dataclass(frozen=True, slots=True)
class Polls:
    """How often what nobody may have announced is looked for, in seconds. An operator can't set
    them; tests, which wait for some, look more often."""

    channels: float = 1.0
    """The versions of conversations that are followed."""
    rights: float = 4.0
    """The rights of all who follow; with the poll on top of it they end within five seconds."""
    replies: float = 1.0
    """Turns whose replies are waited for here and that run elsewhere."""
    saves: float = 1.0
    """How often replies that grow are saved."""
    statuses: float = 5.0
    """Statuses that people have not said again in time."""
    documents: float = 0.5
    """Documents that are followed."""
    webhooks: float = 0.5
    """What webhooks are to be told."""
    news: float = 1.0
    """Lists of those who follow their own channel."""


# ---- what there is -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """One field per variable; the README's table explains each.

    Durations are seconds. `None` means that the embedded default serves.
    """

    host: str = _of("GATEWAY_HOST", "127.0.0.1", _host)
    port: int = _of("GATEWAY_PORT", 8080, _between(0, 65535))
    workers: int = _of("GATEWAY_WORKERS", 1, _between(1, 256))
    data_dir: Path = _of("GATEWAY_DATA_DIR", DATA_DIR, _path)  # noqa: RUF009
    database_url: str | None = _of("DATABASE_URL", None, secret=True)
    prepared_statements: bool = _of("GATEWAY_PREPARED_STATEMENTS", True, _switch)
    redis_url: str | None = _of(
        "REDIS_URL", None, _server("redis://127.0.0.1:6379", "redis", "rediss"), secret=True
    )
    chroma_url: str | None = _of(
        "CHROMA_URL", None, _server("http://127.0.0.1:8000", "http", "https")
    )
    openai_api_key: str | None = _of("OPENAI_API_KEY", None, _key, secret=True)
    openai_base_url: str | None = _of("OPENAI_BASE_URL", None, _api)
    default_model: str = _of("GATEWAY_DEFAULT_MODEL", "gpt-4o-mini")
    models: tuple[str, ...] = _of("GATEWAY_MODELS", (), _models)
    """Plain models by name, or `*` alone for all that the upstream lists."""
    embedding_model: str | None = _of("GATEWAY_EMBEDDING_MODEL", None)
    embedding_aliases: tuple[str, ...] = _of("GATEWAY_EMBEDDING_ALIASES", (), _aliases)
    root_key: str | None = _of("GATEWAY_ROOT_KEY", None, _key, secret=True)
    root_key_file: Path | None = None
    """Where `root_key` was read, if GATEWAY_ROOT_KEY_FILE named it."""
    lease: float = _of("GATEWAY_LEASE_S", 15.0, _seconds)
    ping: float = _of("GATEWAY_PING_S", 10.0, _seconds)
    send_timeout: float = _of("GATEWAY_SEND_TIMEOUT_S", 30.0, _seconds)
    cors_origins: tuple[str, ...] = _of("GATEWAY_CORS_ORIGINS", (), _origins)
    """`*` alone, or origins as browsers send them."""
    egress_allow: tuple[str, ...] = _of("GATEWAY_EGRESS_ALLOW", (), _networks)
    remote_keys: Mapping[str, str] = field(
        default_factory=dict,
        repr=False,
        metadata={VARIABLE: Variable("GATEWAY_REMOTE_KEYS", _keys, secret=True)},
    )
    """By origin, as `addresses.origin` spells it."""
    polls: Polls = Polls()

    @property
    def rehearses(self) -> bool:
        """True if the built-in rehearsal model answers, because no upstream is set."""
        return self.openai_api_key is None and self.openai_base_url is None


_FIELDS: Mapping[str, Variable] = {
    one.name: one.metadata[VARIABLE] for one in fields(Settings) if VARIABLE in one.metadata
}
VARIABLES = tuple(variable.name for variable in _FIELDS.values())
SECRETS = tuple(variable.name for variable in _FIELDS.values() if variable.secret)


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises InvalidRequest naming the variable that can't be used."""
    text = {name: value for name in VARIABLES if (value := environ.get(name, "").strip())}
    files = {name: Path(path) for name in SECRETS if (path := environ.get(f"{name}_FILE"))}
    text |= {name: _secret(name, file, text) for name, file in files.items()}
    given = {
        name: variable.read(variable.name, text[variable.name])
        for name, variable in _FIELDS.items()
        if variable.name in text
    }
    fitting = cast("dict[str, Never]", given)  # each reader stands beside its field's type
    settings = Settings(root_key_file=files.get("GATEWAY_ROOT_KEY"), **fitting)
    _refuse_lonely_workers(settings)
    _refuse_models_of_no_upstream(settings)
    return settings


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
