"""An agency's document as YAML, to be written by hand and kept under version control."""

from __future__ import annotations

from collections.abc import Hashable

import msgspec
import yaml

from gateway.agency.model import Json
from gateway.agency.teams.documents import AgencyDocument, plain
from gateway.errors import InvalidRequest

STRING = "tag:yaml.org,2002:str"


def parse(text: str) -> AgencyDocument:
    """Raises InvalidRequest saying where the text is wrong."""
    try:
        # A safe loader in all but its name.
        members: object = yaml.load(text, Loader=_Loader)  # noqa: S506
        return msgspec.convert(members, AgencyDocument)
    except yaml.YAMLError as error:
        raise InvalidRequest(f"This is not valid YAML: {_where(error)}") from error
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error).replace("`$.", "`").replace(" - at `$`", "")) from error
    except (RecursionError, ValueError) as error:
        raise InvalidRequest(
            "This YAML can't be read: it is nested too deep, or holds an invalid date."
        ) from error


def render(document: AgencyDocument) -> str:
    """The reverse of `parse`; texts of several lines stand as blocks."""
    members = _without_empty(plain(document))
    text: str = yaml.dump(members, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    if _reads_as(text, members):
        return text
    # Rare texts, such as one that begins with blanks and a line break, don't survive as a block.
    plainer: str = yaml.safe_dump(members, sort_keys=False)
    return plainer


def _reads_as(text: str, members: Json) -> bool:
    try:
        return bool(yaml.safe_load(text) == members)
    except yaml.YAMLError:
        return False


def _without_empty(value: dict[str, Json]) -> dict[str, Json]:
    """Leaves out empty members, such as `params: {}`."""
    kept = {name: member for name, member in value.items() if member != {}}
    agents = kept.get("agents")
    if isinstance(agents, list):
        kept["agents"] = [_without_empty(agent) for agent in agents]
    return kept


def _where(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return str(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice: a forgotten dash would make two agents one."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        seen: set[object] = set()
        for key, _ in node.value:
            if key.tag == STRING and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(STRING, text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)
