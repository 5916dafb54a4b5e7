"""Keys and bodies in any order, repeated and at once, while the model works and while it fails: the
first request under a key has its effect, the same one again gets its answer, another is refused."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from gateway.postgres.database import Database
from tests.running import Gateway
from tests.scripted import Call, ScriptedUpstream, say, text
from tests.scripted.exchange import ANONYMOUS
from tests.scripted.faults import Status
from tests.scripted.server import Step
from tests.serving.crash.callers import OWNER, RPC
from tests.serving.crash.counting import MANAGER
from tests.team import Team, make_team

T = TypeVar("T")
SETTINGS = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
keys = st.sampled_from(["a", "b", "c"])
words = st.sampled_from(["Why?", "How?"])
copies = st.integers(1, 4)


class Models:
    """The model: it answers, or refuses in a way that nobody tries again."""

    def __init__(self) -> None:
        self.works = True

    def step(self, call: Call) -> Step:
        return say(0, f"Yes: {call.inbound[-1][1]}") if self.works else Status(401)


@dataclass
class Stage:
    """Where the machine plays: it lives in a thread, what it calls in the loop."""

    loop: asyncio.AbstractEventLoop
    gateway: Gateway
    upstream: ScriptedUpstream
    database: Database
    team: Team
    models: Models

    def run(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def post_all(
        self,
        path: str,
        bodies: Sequence[Mapping[str, object]],
        headers: Mapping[str, str] | None = None,
    ) -> Sequence[httpx.Response]:
        """All at once."""

        async def post() -> Sequence[httpx.Response]:
            http = self.gateway.http
            return await asyncio.gather(
                *(http.post(path, json=body, headers=headers) for body in bodies)
            )

        return self.run(post())

    @property
    def calls(self) -> int:
        return len(self.upstream.calls_of(MANAGER))

    def count(self, table: str) -> int:
        row = self.run(self.database.fetchrow(f"SELECT count(*) AS n FROM {table}"))  # noqa: S608
        assert row is not None
        return int(row["n"])


_examples = itertools.count()


class Requests(RuleBasedStateMachine):
    """`known` is the body and the answer of each key that is used up, by endpoint."""

    stage: Stage

    def __init__(self) -> None:
        super().__init__()
        self.example = next(_examples)
        self.known: dict[tuple[str, str], tuple[object, bytes]] = {}
        self.tried: set[tuple[str, str]] = set()
        self.conversation = self._create(f"{self.example} first", f"agency/{self.stage.team.id}")
        self.conversations = self.stage.count("conversation")
        self.turns = self.stage.count("turn")
        self.stage.models.works = True

    # ---- what happens ----------------------------------------------------------------------------

    @rule(works=st.booleans())
    def the_model(self, works: bool) -> None:
        self.stage.models.works = works

    @rule(key=keys, model=st.sampled_from(["one", "another"]), count=copies)
    def a_conversation(self, key: str, model: str, count: int) -> None:
        fresh = self._send("create_conversation", key, self._creation(key, model), count)
        self.conversations += fresh

    @rule(key=keys, content=words, streamed=st.booleans(), count=copies)
    def a_message(self, key: str, content: str, streamed: bool, count: int) -> None:
        body = self._message(key, content, streamed=streamed)
        calls = self.stage.calls
        fresh = self._send("create_conversation_message", key, body, count)
        self.turns += fresh
        if not streamed:
            assert self.stage.calls == calls + fresh
        self._until_ended()

    @rule(key=keys, count=copies)
    def two_messages(self, key: str, count: int) -> None:
        """Under one key, at once: one of them has it, whichever, and the other is refused."""
        place = "create_conversation_message", key
        bodies = [self._message(key, word, streamed=True) for word in ("Why?", "How?")]
        answers = self.stage.post_all(f"{RPC}/{place[0]}", bodies * count)
        told = [
            {(answer.status_code, answer.content) for answer in answers[which::2]}
            for which in (0, 1)
        ]
        assert all(len({status for status, _ in one}) == 1 for one in told)
        taken = [which for which in (0, 1) if {status for status, _ in told[which]} == {200}]
        if place in self.known:
            assert taken == [which for which in (0, 1) if bodies[which] == self.known[place][0]]
        else:
            (winner,) = taken
            ((_, content),) = told[winner]
            self.known[place] = bodies[winner], content
            self.turns += 1
        assert not taken or told[taken[0]] == {(200, self.known[place][1])}
        self._until_ended()

    @rule(key=keys, content=words, count=copies)
    def a_completion(self, key: str, content: str, count: int) -> None:
        """A failure has not used the key up: whoever comes again has it tried again."""
        works, calls = self.stage.models.works, self.stage.calls
        body = {"model": "m", "messages": [{"role": "user", "content": content}]}
        path = f"/api/agency/{self.stage.team.id}/chat/completions"
        place = ("chat", key)
        headers = {"idempotency-key": self._key(key)}
        answers = self.stage.post_all(path, [body] * count, headers)
        statuses = {answer.status_code for answer in answers}
        if place in self.known and self.known[place][0] == body:
            assert {answer.content for answer in answers} == {self.known[place][1]}
            assert self.stage.calls == calls
        elif place in self.known:
            assert statuses == {422}
        elif 422 in statuses:
            assert statuses == {422}
            assert place in self.tried
        else:
            self.tried.add(place)
            assert statuses == ({200} if works else {502})
            assert calls < self.stage.calls <= calls + (1 if works else count)
            if works:
                (content_of_all,) = {answer.content for answer in answers}
                self.known[place] = body, content_of_all
        self.conversations = self.stage.count("conversation")
        self.turns = self.stage.count("turn")

    def teardown(self) -> None:
        assert self.stage.count("conversation") == self.conversations
        assert self.stage.count("turn") == self.turns

    # ---- how ------------------------------------------------------------------------------------

    def _key(self, key: str) -> str:
        return f"{self.example} {key}"

    def _creation(self, key: str, model: str) -> dict[str, object]:
        relay = {"provider_id": "open_ai", "model_id": model}
        return {"idempotency_key": self._key(key), "owner": OWNER, "ai_relay_options": relay}

    def _message(self, key: str, content: str, *, streamed: bool) -> dict[str, object]:
        return {
            "conversation_id": self.conversation,
            "idempotency_key": self._key(key),
            "message_content": content,
            "file_ids": [],
            "skill_set_ids": [],
            "owner": OWNER,
            "ai_relay_options": None,
            "options": {"use_streaming": streamed},
        }

    def _create(self, key: str, model: str) -> str:
        body = self._creation(key, model)
        (answer,) = self.stage.post_all(f"{RPC}/create_conversation", [body])
        conversation: str = answer.json()["conversation_id"]
        return conversation

    def _send(self, endpoint: str, key: str, body: Mapping[str, object], count: int) -> bool:
        """Whether it was the first of its key."""
        place = endpoint, key
        answers = self.stage.post_all(f"{RPC}/{endpoint}", [body] * count)
        statuses = {answer.status_code for answer in answers}
        contents = {answer.content for answer in answers}
        if place not in self.known:
            assert statuses == {200}, contents
            (content,) = contents
            self.known[place] = body, content
            return True
        first, content = self.known[place]
        if first == body:
            assert (statuses, contents) == ({200}, {content})
        else:
            assert statuses == {422}
            assert {answer.json()["code"] for answer in answers} == {"idempotency_key_reused"}
        return False

    def _until_ended(self) -> None:
        """A title may still be asked for, but nothing of what was said."""
        open_turns = "SELECT FROM turn WHERE state IN ('queued', 'running')"

        async def ended() -> None:
            while await self.stage.database.fetch(open_turns):
                await asyncio.sleep(0.002)

        self.stage.run(asyncio.wait_for(ended(), 10))


@pytest.mark.timeout(180)
async def test_keys_in_any_order(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    models = Models()
    team = await make_team(gateway)
    upstream.always(MANAGER, models.step)
    upstream.always(ANONYMOUS, text("A title"))

    class Playing(Requests):
        stage = Stage(asyncio.get_running_loop(), gateway, upstream, database, team, models)

    await asyncio.to_thread(run_state_machine_as_test, Playing, settings=SETTINGS)
