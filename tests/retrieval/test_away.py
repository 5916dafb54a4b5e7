"""Chroma may go away, hang, come back, and come back empty: only retrieval notices."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway import ids
from gateway.errors import Unavailable
from gateway.retrieval.vectors.index import Index
from tests.conftest import StartGateway
from tests.retrieval.servers import ChromaServer
from tests.retrieval.shelf import Shelf
from tests.scripted import ScriptedUpstream, say
from tests.team import make_team

CAT = "The cat sleeps on the warm windowsill."


async def answered(shelf: Shelf) -> list[dict[str, object]]:
    """What a query finds once it is answered, and all answers before are honest."""
    async with asyncio.timeout(30):
        while True:
            answer = await shelf.call("POST", "/books/query", json={"query": "cat"})
            if answer.status_code == 200:
                return answer.json()["data"]
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            await asyncio.sleep(0.1)


async def test_while_chroma_is_away_retrieval_is_503_and_conversations_go_on(
    start_gateway: StartGateway, upstream: ScriptedUpstream, chroma: ChromaServer
) -> None:
    gateway = await start_gateway(chroma_url=chroma.url)
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create()
    await shelf.ready(CAT)
    chroma.kill()
    away = await shelf.call("POST", "/books/query", json={"query": "cat"})
    assert (away.status_code, away.json()["error"]["code"]) == (503, "unavailable")
    assert int(away.headers["retry-after"]) > 0
    waits = await shelf.add("The dog barks at the cat.")
    ready = await gateway.anonymous.get("/health/ready")
    assert (ready.status_code, ready.json()["resources"]["chroma"]["status"]) == (200, "failed")
    team = await make_team(gateway)
    upstream.script("manager", say(0, "Here I am."))
    reply = await gateway.client(team.id).chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Hello?"}]
    )
    assert reply.choices[0].message.content == "Here I am."
    chroma.start()
    assert len(await answered(shelf)) >= 1
    assert (await shelf.settled(waits))["state"] == "ready"
    assert len(await answered(shelf)) == 2


async def test_a_chroma_that_is_away_at_the_start_is_no_error(
    start_gateway: StartGateway, chroma: ChromaServer
) -> None:
    chroma.kill()
    shelf = await Shelf.of(await start_gateway(chroma_url=chroma.url), "ann")
    await shelf.create()
    added = await shelf.add(CAT)
    await asyncio.sleep(0.5)
    chroma.start()
    assert (await shelf.settled(added))["state"] == "ready"
    assert [one["text"] for one in await answered(shelf)] == [CAT]


async def test_a_chroma_that_hangs_is_not_waited_for(
    start_gateway: StartGateway, chroma: ChromaServer
) -> None:
    gateway = await start_gateway(chroma_url=chroma.url)
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create()
    await shelf.ready(CAT)
    chroma.freeze()
    began = time.monotonic()
    hung, live = await asyncio.gather(
        shelf.call("POST", "/books/query", json={"query": "cat"}),
        gateway.anonymous.get("/health/live"),
    )
    assert (hung.status_code, live.status_code) == (503, 200)
    assert time.monotonic() - began < 20
    chroma.thaw()
    assert [one["text"] for one in await answered(shelf)] == [CAT]


async def test_a_chroma_that_has_lost_everything_is_filled_again(
    start_gateway: StartGateway, chroma: ChromaServer, tmp_path: Path
) -> None:
    shelf = await Shelf.of(await start_gateway(chroma_url=chroma.url), "ann")
    await shelf.create()
    await shelf.ready(CAT)
    chroma.kill()
    chroma.directory = tmp_path / "another"
    chroma.start()
    assert [one["text"] for one in await answered(shelf)] == [CAT]
    assert await shelf.vectors() == 1


async def test_what_is_deleted_while_chroma_is_away_is_deleted_there_later(
    start_gateway: StartGateway, chroma: ChromaServer
) -> None:
    shelf = await Shelf.of(await start_gateway(chroma_url=chroma.url), "ann")
    await shelf.create("one")
    await shelf.create("two")
    (first, _) = await shelf.ready(CAT, "Another text.", name="one")
    await shelf.ready(CAT, name="two")
    assert len(chroma.collections()) == 2
    chroma.kill()
    assert (await shelf.call("DELETE", f"/one/documents/{first['id']}")).status_code == 204
    assert (await shelf.call("DELETE", "/two")).status_code == 204
    assert (await shelf.call("GET", "/two")).status_code == 404
    chroma.start()
    await shelf.swept()
    assert len(chroma.collections()) == 1
    assert await shelf.vectors() == 1


async def test_the_embedded_files_are_one_processs_alone(tmp_path: Path) -> None:
    first, second = Index(None, tmp_path), Index(None, tmp_path)
    await first.ping()
    await second.ping()  # who looks whether all is well finds it in good hands
    with pytest.raises(Unavailable, match="Another process"):
        await second.drop(ids.new())
    await first.close()
    await second.drop(ids.new())
    await second.close()


async def test_who_serves_keeps_the_files_before_anything_is_searched(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    """A command that loads a folder leaves the work to it, and searches are answered meanwhile."""
    gateway = await start_gateway()
    command = Index(None, tmp_path / "chroma")
    assert command.taken()
    assert not gateway.resources.index.taken()
    command.claim()
    with pytest.raises(Unavailable, match="Another process"):
        await command.drop(ids.new())
    shelf = await Shelf.of(gateway, "ann")
    await shelf.create()
    await shelf.ready(CAT)
    assert [one["text"] for one in await shelf.query("cat")] == [CAT]
    await command.close()
    assert command.taken()


@pytest.mark.parametrize("after", [0, 0.01, 0.03])
def test_the_first_to_embed_and_the_first_to_search_may_come_together(
    tmp_path: Path, after: float
) -> None:
    """Both load numpy. Once it is half loaded, a process has no library for good."""
    beginning = f"""
import asyncio
from pathlib import Path
from gateway import ids
from gateway.retrieval.vectors.embedding import WordLlama
from gateway.retrieval.vectors.index import Index
async def main():
    index = Index(None, Path({str(tmp_path)!r}))
    async def later():
        await asyncio.sleep({after})
        await index.drop(ids.new())
    await asyncio.gather(WordLlama().embed(["x"]), later())
    await index.close()
asyncio.run(main())
"""
    line = (sys.executable, "-c", beginning)
    told = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr


async def test_several_workers_without_a_server_have_no_index_and_say_so() -> None:
    index = Index(None, None)
    with pytest.raises(Unavailable, match="CHROMA_URL"):
        await index.near(ids.new(), [1.0], 1, None)
    await index.close()
