"""The queries of the committed pages, as Grafana would ask them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lab.paths import PROJECT

FOLDER = PROJECT / "observability" / "grafana" / "dashboards"

# What a run shows nothing of when all went well.
MAY_BE_EMPTY = {
    ("home", "102 C"): "no run was cut short",
    ("load-test", "101 C"): "the run was not cut short",
    ("load-test", "301 D"): "every visit was started",
    ("load-test", "304 A"): "nothing was wrong",
    ("load-test", "402 A"): "nothing failed",
    ("load-test", "502 A"): "nothing was wrong",
    ("runs", "101 C"): "no run was cut short",
    ("runs", "201 C"): "neither run was cut short",
    ("clinic-api", "202 A"): "nobody else called",
    ("clinic-api", "303 A"): "no statement failed",
    ("clinic-api", "502 A"): "nothing fired",
    ("telemetry", "204 A"): "nothing was thrown away",
    ("telemetry", "502 B"): "Tempo writes its first block after some minutes",
}
OF_JAEGER_ALONE = {("telemetry", "303 G")}
OF_TEMPO_ALONE = {("telemetry", place) for place in ("204 B", "303 F", "501 E", "504 B", "504 C")}


@dataclass(frozen=True)
class Target:
    """One query of a page."""

    page: str
    place: str
    """A panel's id and the query's letter, such as `101 A`; or a variable's or a mark's name."""
    source: str
    query: str
    over_time: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.page, self.place

    @property
    def is_promql(self) -> bool:
        return self.source == "prometheus" and not self.query.startswith("label_values(")

    def filled(self, **variables: str) -> str:
        """Give the query with values in place of the page's variables."""
        query = re.sub(r"^query_result\((.*)\)$", r"\1", self.query)
        for name in sorted(variables, key=len, reverse=True):
            query = query.replace(f"${{{name}}}", variables[name])
            query = query.replace(f"${name}", variables[name])
        left = re.findall(r"\$[{a-z_]\w*", query)
        assert not left, f"{self.key}: no value for {left} in {query}"
        return query


def pages() -> dict[str, dict[str, Any]]:
    """Read each page by its uid."""
    read = [json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))]
    return {page["uid"]: page for page in read}


def panels(page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a page's panels, those within rows too."""
    for panel in page["panels"]:
        yield panel
        yield from panel.get("panels", [])


def targets() -> Iterator[Target]:
    """Give every query of every page: of its panels, its variables and its marks."""
    for uid, page in pages().items():
        for panel in panels(page):
            for target in panel.get("targets", []):
                yield Target(
                    uid,
                    f"{panel['id']} {target['refId']}",
                    target["datasource"]["uid"],
                    target.get("expr") or target.get("query") or target["queryType"],
                    over_time=target.get("range", False),
                )
        asking = (v for v in page["templating"]["list"] if v["type"] == "query")
        for variable in asking:
            source = variable["datasource"]["uid"]
            yield Target(uid, variable["name"], source, variable["query"]["query"])
        for mark in page["annotations"]["list"]:
            yield Target(uid, mark["name"], mark["datasource"]["uid"], mark["expr"], over_time=True)


def target(page: str, place: str) -> Target:
    """Find one query."""
    return next(one for one in targets() if one.key == (page, place))
