"""Settings come from the environment, once, and each is told in the README."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import InvalidRequest
from gateway.settings import SECRETS, VARIABLES, Settings, misspelt, read

README = Path(__file__).resolve().parents[2] / "README.md"


def test_without_any_variable_everything_is_embedded() -> None:
    settings = read({})
    assert settings == Settings()
    assert settings.rehearses
    assert (settings.database_url, settings.redis_url, settings.chroma_url) == (None, None, None)


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert read({"OPENAI_API_KEY": " ", "GATEWAY_PORT": ""}) == Settings()


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_BASE_URL"])
def test_an_upstream_ends_the_rehearsal(name: str) -> None:
    assert not read({name: "http://127.0.0.1:1/v1"}).rehearses


@pytest.mark.parametrize(
    ("name", "value"),
    [("GATEWAY_PORT", "http"), ("GATEWAY_PORT", "65536"), ("GATEWAY_WORKERS", "0")],
)
def test_what_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        read({name: value})


@pytest.mark.parametrize("host", ["http://0.0.0.0", "127.0.0.1:80", "0.0.0.0/"])
def test_a_host_is_no_address_of_a_page(host: str) -> None:
    with pytest.raises(InvalidRequest, match="GATEWAY_HOST must be a name or an address"):
        read({"GATEWAY_HOST": host})


@pytest.mark.parametrize("host", ["::", "::1", "localhost", "0.0.0.0", "gateway.example.com"])  # noqa: S104
def test_a_host_may_be_a_name_or_an_address_of_either_kind(host: str) -> None:
    assert read({"GATEWAY_HOST": host}).host == host


def test_a_variable_that_looks_like_a_setting_is_told() -> None:
    others = {"GATEWAY_SERVICE_HOST": "10.0.0.1", "GATEWAY_PORT_80_TCP": "x", "PATH": "/bin"}
    wrong = {"GATEWAY_WORKER": "2", "GATEWAY_ROOT_KEY_FILES": "x", "GATEWAY_EGRES_ALLOW": ""}
    right = dict.fromkeys(VARIABLES, "") | {"GATEWAY_ROOT_KEY_FILE": ""}
    assert misspelt(others | wrong | right) == {
        "GATEWAY_WORKER": "GATEWAY_WORKERS",
        "GATEWAY_ROOT_KEY_FILES": "GATEWAY_ROOT_KEY_FILE",
        "GATEWAY_EGRES_ALLOW": "GATEWAY_EGRESS_ALLOW",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_BASE_URL", "api.secret.com/v1"),
        ("OPENAI_BASE_URL", "ftp://secret"),
        ("OPENAI_BASE_URL", "https://u:secret@x/v1"),
        ("OPENAI_BASE_URL", "https://secret/v1#a"),
        ("OPENAI_API_KEY", "sk\nsecret"),
        ("OPENAI_API_KEY", "sk-“secret”"),
        ("GATEWAY_ROOT_KEY", "my secret"),
        ("GATEWAY_ROOT_KEY", "sécret"),
        ("REDIS_URL", "secret:6379"),
        ("REDIS_URL", "http://secret"),
        ("REDIS_URL", "redis://:secret@x:y"),
        ("CHROMA_URL", "secret:8000"),
        ("CHROMA_URL", "http://"),
    ],
)
def test_no_worker_has_to_find_that_an_address_or_a_key_is_none(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{name} ") as refused:
        read({name: value})
    assert "secret" not in refused.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_BASE_URL", "http://[::1]:8000/v1/"),
        ("REDIS_URL", "rediss://u:p%40@cache.example.com:6380/1?ssl_cert_reqs=none"),
        ("CHROMA_URL", "https://chroma.example.com"),
        ("OPENAI_API_KEY", "sk-proj-_a.b/c+d=="),
    ],
)
def test_an_address_and_a_key_of_another_form_are_taken(name: str, value: str) -> None:
    assert getattr(read({name: value}), name.lower()) == value


def test_several_workers_need_a_shared_postgres_and_redis() -> None:
    shared = {"DATABASE_URL": "postgresql://x", "REDIS_URL": "redis://x"}
    for missing in shared:
        set_ = {name: value for name, value in shared.items() if name != missing}
        with pytest.raises(InvalidRequest, match=f"needs {missing}:"):
            read({"GATEWAY_WORKERS": "2", **set_})
    assert read({"GATEWAY_WORKERS": "2", **shared}).workers == 2


def test_an_embedding_model_needs_an_upstream() -> None:
    with pytest.raises(InvalidRequest, match="OPENAI_API_KEY"):
        read({"GATEWAY_EMBEDDING_MODEL": "text-embedding-3-small"})
    told = {"GATEWAY_EMBEDDING_MODEL": "text-embedding-3-small", "OPENAI_API_KEY": "x"}
    assert read(told).embedding_model == "text-embedding-3-small"


def test_aliases_of_the_embedding_model_need_no_upstream() -> None:
    told = read({"GATEWAY_EMBEDDING_ALIASES": "text-embedding-3-small, b,b"})
    assert told.embedding_aliases == ("text-embedding-3-small", "b")
    with pytest.raises(InvalidRequest, match="GATEWAY_EMBEDDING_ALIASES"):
        read({"GATEWAY_EMBEDDING_ALIASES": "wordllama"})


def test_networks_and_keys_of_others_are_read_in_one_spelling() -> None:
    read_ = read(
        {
            "GATEWAY_EGRESS_ALLOW": "10.1.0.0/16, 127.0.0.1,fd00::/8",
            "GATEWAY_REMOTE_KEYS": "https://Agents.example.com=sk-1=, http://10.1.0.1:8080/=k",
        }
    )
    assert read_.egress_allow == ("10.1.0.0/16", "127.0.0.1/32", "fd00::/8")
    keys = {"https://agents.example.com:443": "sk-1=", "http://10.1.0.1:8080": "k"}
    assert "sk-1" not in repr(read_)
    assert read_.remote_keys == keys


@pytest.mark.parametrize("value", ["10.1.0.1/16", "10.1.0.0/33", "localhost", "*"])
def test_what_is_no_network_is_named(value: str) -> None:
    with pytest.raises(InvalidRequest, match="GATEWAY_EGRESS_ALLOW"):
        read({"GATEWAY_EGRESS_ALLOW": value})


@pytest.mark.parametrize(
    "value",
    [
        "sk-secret",
        "https://x=",
        "https://x=sk-secret,",
        "https://x=sk secret",
        "https://x/api=sk-secret",
        "https://x?a=sk-secret",
        "https://u:sk-secret@x=sk-secret",
        "ftp://x=sk-secret",
        "https://x:0x=sk-secret",
    ],
)
def test_a_key_for_nowhere_is_refused_and_not_told(value: str) -> None:
    with pytest.raises(InvalidRequest, match="GATEWAY_REMOTE_KEYS") as refused:
        read({"GATEWAY_REMOTE_KEYS": value})
    assert "secret" not in refused.value.message


def test_the_readme_has_a_row_for_each_variable_and_no_other() -> None:
    rows = [line for line in README.read_text().splitlines() if line.startswith("|")]
    named = [name for row in rows for name in re.findall(r"`([A-Z][A-Z_]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(VARIABLES)


VALUES = {
    "DATABASE_URL": "postgresql://gateway:hidden@db/gateway",
    "REDIS_URL": "redis://:hidden@cache",
    "OPENAI_API_KEY": "sk-hidden",
    "GATEWAY_ROOT_KEY": "agw_root_hidden",
    "GATEWAY_REMOTE_KEYS": "https://agents.example.com=hidden",
}


def test_a_secret_in_a_file_is_the_same_as_in_the_environment(tmp_path: Path) -> None:
    assert set(VALUES) == set(SECRETS) <= set(VARIABLES)
    for name, value in VALUES.items():
        file = tmp_path / name
        file.write_text(f"{value}\n")
        settings = read({f"{name}_FILE": str(file)})
        where = file if name == "GATEWAY_ROOT_KEY" else None
        assert settings.root_key_file == where
        assert replace(settings, root_key_file=None) == read({name: value})
        assert "hidden" not in repr(settings)


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    for name in SECRETS:
        with pytest.raises(InvalidRequest, match=f"{name}_FILE.*{file}"):
            read({f"{name}_FILE": str(file)})


def test_a_secret_is_said_once(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("one")
    for name in SECRETS:
        with pytest.raises(InvalidRequest, match=f"{name} and {name}_FILE") as refused:
            read({f"{name}_FILE": str(file), name: "another"})
        assert "another" not in refused.value.message


def test_the_readme_names_the_files_of_all_secrets() -> None:
    told = set(re.findall(r"`([A-Z_]+)_FILE`", README.read_text()))
    assert told == set(SECRETS)
