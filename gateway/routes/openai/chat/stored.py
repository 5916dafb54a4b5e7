"""Stored completions of the OpenAI API. Without `store: false` a completion is kept.

Source: the OpenAI API reference, Chat Completions: list, get, get messages, update, delete.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from litestar import Request, delete, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from gateway import ids
from gateway.agency.records.stored import Whose
from gateway.agency.teams.catalog import AgencySpec
from gateway.auth import Principal
from gateway.errors import InvalidRequest, NotFound
from gateway.routes.openai.chat.stored_wire import (
    CompletionList,
    CompletionMessageList,
    Deleted,
    StoredChatCompletion,
    Update,
    completion_answer,
    completion_list,
    message_list,
)
from gateway.routes.openai.prefixes import Agency, TheStore, under_each
from gateway.routes.shapes.pages import Limit
from gateway.routes.shapes.refusals import BAD, MISSING
from gateway.settings import Settings

After = Annotated[str | None, QueryParameter(description="The last id of the page before.")]
Order = Annotated[Literal["asc", "desc"], QueryParameter(description="By the time of creation.")]
ByModel = Annotated[str | None, QueryParameter(description="Those that were asked of this model.")]

Calling = Request[Principal, str, State]
TheSettings = NamedDependency[Settings]

_FILTER = re.compile(r"metadata\[(.*)\]", re.DOTALL)


@get("/chat/completions", summary="List stored completions", responses=BAD | MISSING)
async def list_completions(
    request: Calling,
    agency: Agency,
    store: TheStore,
    settings: TheSettings,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
    model: ByModel = None,
) -> CompletionList:
    """`metadata[key]=value`, any number of times, lists those that have all of these."""
    found = await store.page(
        _whose(request.user, agency),
        limit=limit,
        after=ids.read(ids.COMPLETION, after) if after else None,
        newest_first=order == "desc",
        model=model,
        metadata=_filters(request),
    )
    return completion_list(found, settings)


@get("/chat/completions/{completion_id:str}", summary="Read a completion", responses=MISSING)
async def read_completion(
    request: Calling,
    completion_id: FromPath[str],
    agency: Agency,
    store: TheStore,
    settings: TheSettings,
) -> StoredChatCompletion:
    whose = _whose(request.user, agency)
    found = await store.one(whose, ids.read(ids.COMPLETION, completion_id))
    return completion_answer(found, settings)


@get(
    "/chat/completions/{completion_id:str}/messages",
    summary="List what led to a completion",
    responses=BAD | MISSING,
)
async def list_completion_messages(
    request: Calling,
    completion_id: FromPath[str],
    agency: Agency,
    store: TheStore,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
) -> CompletionMessageList:
    """Returns the client's system message, then the history and the input."""
    found = await store.messages(
        _whose(request.user, agency),
        ids.read(ids.COMPLETION, completion_id),
        limit=limit,
        after=_number(completion_id, after) if after else None,
        newest_first=order == "desc",
    )
    return message_list(found, completion_id)


@post(
    "/chat/completions/{completion_id:str}",
    status_code=200,
    summary="Replace the metadata of a completion",
    responses=BAD | MISSING,
)
async def update_completion(
    request: Calling,
    completion_id: FromPath[str],
    data: JSONBody[Update],
    agency: Agency,
    store: TheStore,
    settings: TheSettings,
) -> StoredChatCompletion:
    turn_id = ids.read(ids.COMPLETION, completion_id)
    changed = await store.update(_whose(request.user, agency), turn_id, data.metadata or {})
    return completion_answer(changed, settings)


@delete(
    "/chat/completions/{completion_id:str}",
    status_code=200,
    summary="Delete a completion",
    responses=MISSING,
)
async def delete_completion(
    request: Calling, completion_id: FromPath[str], agency: Agency, store: TheStore
) -> Deleted:
    """Deletes its input and its answer from the conversation, too."""
    await store.delete(_whose(request.user, agency), ids.read(ids.COMPLETION, completion_id))
    return Deleted("chat.completion.deleted", completion_id, deleted=True)


def _whose(principal: Principal, agency: AgencySpec | None) -> Whose:
    return Whose(principal, None if agency is None else f"agency/{agency.id}")


def _filters(request: Calling) -> dict[str, str]:
    """The query's `metadata[key]=value` as a mapping."""
    filters = {}
    for name, value in request.query_params.multi_items():
        if found := _FILTER.fullmatch(name):
            filters[found[1]] = str(value)
    if len(filters) > 16:
        raise InvalidRequest("'metadata' holds at most 16 pairs.", param="metadata")
    return filters


def _number(completion_id: str, message_id: str) -> int:
    """The place that a message's id names: `chatcmpl-…-3`. Raises NotFound."""
    number = message_id.removeprefix(f"{completion_id}-")
    if number == message_id or not (number.isascii() and number.isdigit()) or len(number) > 18:
        raise NotFound(f"There is no {message_id[:64]!r}.", code="message_not_found")
    return int(number)


ROUTES = under_each(
    [
        list_completions,
        read_completion,
        list_completion_messages,
        update_completion,
        delete_completion,
    ],
    tag="Chat",
)
