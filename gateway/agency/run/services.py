"""What running a turn calls on."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.agency.ledger.ledger import Ledger
from gateway.agency.model import Model
from gateway.agency.models.remote import Remotes
from gateway.agency.run.checks import FormatChecks
from gateway.agency.turn.library import Library


@dataclass(slots=True)
class Services:
    """`default_model` serves agents that name none. `library` is None if none is configured."""

    ledger: Ledger
    model: Model
    remotes: Remotes
    checks: FormatChecks
    default_model: str
    library: Library | None = None
