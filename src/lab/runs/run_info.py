"""What a run is called and was made for: its name, note, tags, version, commit and baseline.

A run's record has them. They are also published to Prometheus, for dashboards and for runs without
a record; where both exist, the record counts. Prometheus alone knows which runs were deleted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lab.clients.prometheus import Prometheus
from lab.errors import UserError
from lab.promql import published
from lab.promql.selectors import RETENTION, RunList, RunSelector
from lab.runs.k6 import is_reserved
from lab.runs.record import Environment, Record, saved
from lab.stack.services import is_api

MAX_NOTE = 200
# The labels of `published.INFO`.
LABELS = ("testid", "name", "note", "tags", "version", "commit", "report")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a run is called and was made for; what is unknown is empty."""

    name: str = ""
    note: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    commit: str = ""

    @classmethod
    def of(cls, record: Record) -> "RunInfo":
        version, commit = _build(record.environment)
        return cls(record.name, record.note, record.tags, version, commit)

    @classmethod
    def published(cls, labels: Mapping[str, str], marks: Iterable[Mapping[str, str]]) -> "RunInfo":
        """Take it from the labels of `published.INFO`, and the tags from those of k6's marks."""
        return cls(
            name=labels.get("name", ""),
            note=labels.get("note", ""),
            tags=tags(marks),
            version=labels.get("version", ""),
            commit=labels.get("commit", ""),
        )


def check_note(note: str) -> str:
    """Raise unless a note is one line of a length that tables and labels can hold."""
    if len(note) > MAX_NOTE or not note.isprintable():
        raise UserError(
            f"NOTE has {len(note)} characters; expected one line of at most {MAX_NOTE} printable "
            "characters."
        )
    return note.strip()


def tags(labels: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return what K6_TAGS added to the labels of a run's series, of all its generators."""
    series = list(labels)
    return {
        name: value
        for name, value in sorted((series[0] if series else {}).items())
        if not is_reserved(name) and all(one.get(name) == value for one in series)
    }


def tags_text(tags: Mapping[str, str]) -> str:
    """Write tags as `env=qa, owner=me`."""
    return ", ".join(f"{name}={value}" for name, value in tags.items())


def labels(record: Record, report: str = "") -> dict[str, str]:
    """Return the labels by which `published.INFO` describes a run and its report page's address."""
    info = RunInfo.of(record)
    return _labels(record.run_id, info, report)


def saved_baselines() -> list[dict[str, str]]:
    """Return the labels by which `published.BASELINE` names each baseline with a record."""
    return [
        {"testid": run.run_id, "profile": run.profile or "", "journey": run.journey or ""}
        for run in saved()
        if run.baseline
    ]


def labels_at_start(run_id: str, environment: Environment, note: str) -> dict[str, str]:
    """Return the labels by which `published.INFO` describes a run that starts."""
    version, commit = _build(environment)
    return _labels(run_id, RunInfo(note=note, version=version, commit=commit), "")


def _labels(run_id: str, info: RunInfo, report: str) -> dict[str, str]:
    return {
        "testid": run_id,
        "name": info.name,
        "note": info.note,
        "tags": tags_text(info.tags),
        "version": info.version,
        "commit": info.commit,
        "report": report,
    }


def read_published(
    prometheus: Prometheus, runs: RunSelector | RunList, at: float
) -> dict[str, dict[str, str]]:
    """Return the labels of `published.INFO` that were published last, by run."""
    series = prometheus.series(published.newest(published.INFO, runs), at)
    return {labels["testid"]: labels for labels, _ in series}


def read_baselines(prometheus: Prometheus, at: float) -> set[str]:
    """Return the runs that were last published as the baseline of a profile and journey."""
    newest = published.newest(published.BASELINE, RunList(RETENTION), "profile, journey")
    return {labels["testid"] for labels, _ in prometheus.series(newest, at) if "testid" in labels}


def read_deleted(prometheus: Prometheus, at: float) -> set[str]:
    """Return the runs that were deleted."""
    deleted = published.newest(published.DELETED, RunList(RETENTION))
    return set(prometheus.by_label(deleted, "testid", at))


def _build(environment: Environment | None) -> tuple[str, str]:
    """Return the API's version and the project's commit."""
    if not environment:
        return "", ""
    versions = (it for name, it in environment.programs.items() if is_api(name))
    return next(versions, ""), environment.commit
