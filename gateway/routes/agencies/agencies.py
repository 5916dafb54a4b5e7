"""`/api/agencies`: what an agency is, for its owner and for admins. To others it is 404."""

from __future__ import annotations

from litestar import Router, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler

from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.documents import (
    AgencyDocument,
    AgencyPatch,
    AgentDocument,
    AgentPatch,
)
from gateway.auth import Principal, Scope
from gateway.routes.agencies.wire import (
    AgencyAnswer,
    AgencyList,
    AgentAnswer,
    AgentList,
    agency_answer,
    agency_entry,
    agent_answer,
)
from gateway.routes.http.guards import needs
from gateway.routes.shapes.pages import Cursor, Limit
from gateway.routes.shapes.refusals import BAD, refusal

TheCatalog = NamedDependency[Catalog]
ThePrincipal = NamedDependency[Principal]

MISSING = BAD | {404: refusal("There is no such agency or agent, or it is not yours to see.")}
ADMINS = {403: refusal("`remote` of an agent is for admins to set.")}
CONFLICT = {409: refusal("`agent_name_taken`, or `manager_required`.")}


@post("/", summary="Create an agency", responses=BAD | ADMINS)
async def create_agency(
    data: JSONBody[AgencyDocument], catalog: TheCatalog, principal: ThePrincipal
) -> AgencyAnswer:
    admin = principal.may(Scope.ADMIN)
    return agency_answer(await catalog.create(data, principal.user, admin=admin))


@get("/", summary="List your agencies; an admin sees all", responses=BAD)
async def list_agencies(
    catalog: TheCatalog, principal: ThePrincipal, limit: Limit = 20, cursor: Cursor = None
) -> AgencyList:
    page = await catalog.page(principal, limit=limit, cursor=cursor)
    return AgencyList(data=[agency_entry(one) for one in page.items], next_cursor=page.next_cursor)


@get("/{agency_id:int}", summary="Read an agency", responses=MISSING)
async def read_agency(
    agency_id: FromPath[int], catalog: TheCatalog, principal: ThePrincipal
) -> AgencyAnswer:
    return agency_answer(await catalog.definition(agency_id, principal))


@put(
    "/{agency_id:int}",
    summary="Replace an agency by a whole document",
    responses=MISSING | ADMINS,
)
async def replace_agency(
    agency_id: FromPath[int],
    data: JSONBody[AgencyDocument],
    catalog: TheCatalog,
    principal: ThePrincipal,
) -> AgencyAnswer:
    """Agents are matched by id, else by name. Those that the document does not name are deleted;
    what they said is kept."""
    return agency_answer(await catalog.replace(agency_id, data, principal))


@patch("/{agency_id:int}", summary="Change name, manager, sharing or settings", responses=MISSING)
async def patch_agency(
    agency_id: FromPath[int],
    data: JSONBody[AgencyPatch],
    catalog: TheCatalog,
    principal: ThePrincipal,
) -> AgencyAnswer:
    return agency_answer(await catalog.patch(agency_id, data, principal))


@delete("/{agency_id:int}", summary="Delete an agency", responses=MISSING)
async def delete_agency(
    agency_id: FromPath[int], catalog: TheCatalog, principal: ThePrincipal
) -> None:
    await catalog.delete(agency_id, principal)


@post("/{agency_id:int}/agents", summary="Add an agent", responses=MISSING | ADMINS | CONFLICT)
async def add_agent(
    agency_id: FromPath[int],
    data: JSONBody[AgentDocument],
    catalog: TheCatalog,
    principal: ThePrincipal,
) -> AgentAnswer:
    return agent_answer(await catalog.add_agent(agency_id, data, principal))


@get("/{agency_id:int}/agents", summary="List an agency's agents", responses=MISSING)
async def list_agents(
    agency_id: FromPath[int],
    catalog: TheCatalog,
    principal: ThePrincipal,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> AgentList:
    page = await catalog.agents(agency_id, principal, limit=limit, cursor=cursor)
    return AgentList(data=[agent_answer(one) for one in page.items], next_cursor=page.next_cursor)


@get("/{agency_id:int}/agents/{agent_id:int}", summary="Read an agent", responses=MISSING)
async def read_agent(
    agency_id: FromPath[int], agent_id: FromPath[int], catalog: TheCatalog, principal: ThePrincipal
) -> AgentAnswer:
    return agent_answer(await catalog.agent(agency_id, agent_id, principal))


@patch(
    "/{agency_id:int}/agents/{agent_id:int}",
    summary="Change an agent",
    responses=MISSING | ADMINS | CONFLICT,
)
async def patch_agent(
    agency_id: FromPath[int],
    agent_id: FromPath[int],
    data: JSONBody[AgentPatch],
    catalog: TheCatalog,
    principal: ThePrincipal,
) -> AgentAnswer:
    return agent_answer(await catalog.patch_agent(agency_id, agent_id, data, principal))


@delete(
    "/{agency_id:int}/agents/{agent_id:int}",
    summary="Delete an agent",
    responses=MISSING | CONFLICT,
)
async def delete_agent(
    agency_id: FromPath[int], agent_id: FromPath[int], catalog: TheCatalog, principal: ThePrincipal
) -> None:
    """What the agent said is kept. The manager can't be deleted: 409 `manager_required`."""
    await catalog.delete_agent(agency_id, agent_id, principal)


ROUTES: list[ControllerRouterHandler] = [
    Router(
        path="/api/agencies",
        route_handlers=[
            create_agency,
            list_agencies,
            read_agency,
            replace_agency,
            patch_agency,
            delete_agency,
            add_agent,
            list_agents,
            read_agent,
            patch_agent,
            delete_agent,
        ],
        guards=[needs(Scope.AGENCIES)],
        tags=["agencies"],
    )
]
