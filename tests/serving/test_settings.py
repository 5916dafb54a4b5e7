"""Settings come from the environment, once, and each is told in the README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.errors import InvalidRequest
from gateway.settings import VARIABLES, Settings, read

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


def test_the_readme_has_a_row_for_each_variable_and_no_other() -> None:
    rows = [line for line in README.read_text().splitlines() if line.startswith("|")]
    named = [name for row in rows for name in re.findall(r"`([A-Z][A-Z_]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(VARIABLES)
