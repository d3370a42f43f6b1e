"""Follow runs to their end with one watch, and say at any later time how they fare."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

from heraci import naming
from heraci.submit import values as v
from heraci.submit.values import Archive, Document, Fate, Phase, Run, Server, What

# Without an end of its own a watch is begun anew from time to time: a lost event is found then.
WATCH_SECONDS = 300.0
# Between two lists, where a watch was cut or is not allowed.
LOOK_SECONDS = 2.0
# How long a server may be away: longer than an API server's restart or an upgrade of its node.
PATIENCE_SECONDS = 600.0
# How long one who could look until now may be refused: an API server that has just started refuses
# all until it has read the roles.
REFUSED_SECONDS = 60.0

# What Argo itself says; "" is a workflow that no controller has seen.
PHASES = {str(each): each for each in Phase}

OnChange = Callable[[Run], None]


def follow(
    fates: Iterable[Fate],
    server: Server,
    *,
    archive: Archive | None = None,
    timeout: float | None = None,
    on_change: OnChange = lambda _: None,
) -> tuple[Run, ...]:
    """Wait until all runs have ended or the time is over; `on_change` hears of each change.

    A run whose phase has not ended was still on its way when the time was over. HeraciError where
    the server refuses, or stays away for long.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for fate in fates:
        one = fate.submission
        if one.kind == "Workflow" and fate.what in (What.CREATED, What.ALREADY_THERE):
            run = run_of(fate.document or one.document)
            groups.setdefault((run.namespace, run.commit), []).append(run)
    end = None if timeout is None else time.monotonic() + timeout
    lock = threading.Lock()

    def told(run: Run) -> None:
        with lock:
            on_change(run)

    watches = [_Watch(server, archive, at, runs, end, told) for at, runs in groups.items()]
    if len(watches) == 1:
        return tuple(watches[0].run())  # in this thread: Ctrl-C ends it at once
    with ThreadPoolExecutor(max(1, len(watches))) as workers:
        try:
            return tuple(run for runs in workers.map(_Watch.run, watches) for run in runs)
        except BaseException:
            for watch in watches:
                watch.stopped.set()
            raise


class _Watch:
    """The runs of one commit in one namespace."""

    def __init__(
        self,
        server: Server,
        archive: Archive | None,
        at: tuple[str, str],
        runs: Iterable[Run],
        end: float | None,
        on_change: OnChange,
    ) -> None:
        self._server, self._archive, self._end, self._on_change = server, archive, end, on_change
        self._namespace, commit = at
        self._selector = f"{v.COMMIT_LABEL}={commit},{v.ATTEMPT_LABEL}"
        self._runs = {each.name: each for each in runs}
        self.stopped = threading.Event()

    def run(self) -> list[Run]:
        """Watch until all have ended; list anew whenever the line broke."""
        away_since = None
        met = False
        for run in self._runs.values():
            self._on_change(run)
        while not self._done():
            try:
                items, version = self._server.objects("Workflow", self._namespace, self._selector)
                self._see_all(items)
                away_since, met = None, True
                self._watch_from(version)
            except (ConnectionError, PermissionError) as error:
                away_since = away_since or time.monotonic()
                refused = isinstance(error, PermissionError)
                patience = PATIENCE_SECONDS if not refused else REFUSED_SECONDS if met else 0.0
                if time.monotonic() - away_since >= patience:
                    raise
            self.stopped.wait(min(LOOK_SECONDS, self._left()) if not self._done() else 0)
        return list(self._runs.values())

    def _watch_from(self, version: str) -> None:
        if self._done():
            return
        events: Any = self._server.watch(
            "Workflow", self._namespace, self._selector, version, self._left()
        )
        with closing(events), suppress(PermissionError):  # who may only list looks now and then
            for kind, document in events:
                self._see(document, deleted=kind == "DELETED")
                if self._done():
                    return

    def _left(self) -> float:
        return WATCH_SECONDS if self._end is None else max(0.0, self._end - time.monotonic())

    def _done(self) -> bool:
        ended = all(run.phase.ended for run in self._runs.values())
        return ended or self._left() <= 0 or self.stopped.is_set()

    def _see_all(self, items: list[dict[str, Any]]) -> None:
        for item in items:
            self._see(item)
        names = {item["metadata"]["name"] for item in items}
        missing = [r for r in self._runs.values() if r.name not in names and not r.phase.ended]
        if not missing:
            return
        archived = self._archived()
        for run in missing:
            if ended := archived.get(run.name):
                self._change(ended)
            # An Argo Server's list may be late, and lack what was created a moment ago.
            elif found := self._server.find("Workflow", run.namespace, run.name):
                self._see(found)
            else:
                self._change(_deleted(run))

    def _see(self, document: Document, *, deleted: bool = False) -> None:
        run = run_of(document)
        before = self._runs.get(run.name)
        if before is None or before.phase.ended or (before.uid and before.uid != run.uid):
            return
        self._change(_deleted(run) if deleted and not run.phase.ended else run)

    def _change(self, run: Run) -> None:
        if self._runs[run.name] != run:
            self._runs[run.name] = run
            self._on_change(run)

    def _archived(self) -> dict[str, Run]:
        found: list[dict[str, Any]] = []
        if self._archive is not None:
            with suppress(PermissionError):
                found = self._archive.archived(self._namespace, self._selector)
        runs = (replace(run_of(each), archived=True) for each in found)
        return {run.name: run for run in runs if run.phase.ended}


def _deleted(run: Run) -> Run:
    message = "It was deleted on the cluster while heraci waited for its end."
    return replace(run, phase=Phase.DELETED, message=message)


def runs(
    server: Server,
    namespace: str,
    *,
    commit: str | None = None,
    experiment: str | None = None,
    archive: Archive | None = None,
) -> tuple[Run, ...]:
    """Find the runs of a commit, of an experiment, or all that heraci submitted; newest first."""
    parts = [f"{v.COMMIT_LABEL}={commit}" if commit else v.COMMIT_LABEL, v.ATTEMPT_LABEL]
    if experiment:
        label = naming.shortened(naming.slug(experiment), naming.LABEL)
        parts.append(f"{v.EXPERIMENT_LABEL}={label}")
    selector = ",".join(parts)
    found: dict[str, Run] = {}
    if archive is not None:
        with suppress(PermissionError):
            gone = archive.archived(namespace, selector)
            found = {run.name: replace(run, archived=True) for run in map(run_of, gone)}
    items, _ = server.objects("Workflow", namespace, selector)
    found |= {run.name: run for run in map(run_of, items)}
    chosen = [each for each in found.values() if experiment in (None, each.experiment)]
    return tuple(sorted(chosen, key=lambda each: (each.created, each.name), reverse=True))


def run_of(document: Document) -> Run:
    """Read how a workflow fares from the document that a server gave."""
    metadata, status = document["metadata"], document.get("status") or {}
    labels: Mapping[str, str] = metadata.get("labels") or {}
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    phase = status.get("phase") or labels.get(v.PHASE_LABEL) or Phase.PENDING
    attempt = labels.get(v.ATTEMPT_LABEL, "1")
    return Run(
        namespace=metadata.get("namespace") or "",
        name=metadata["name"],
        experiment=annotations.get(v.EXPERIMENT) or labels.get(v.EXPERIMENT_LABEL, ""),
        commit=labels.get(v.COMMIT_LABEL, ""),
        attempt=int(attempt) if attempt.isdigit() else 1,
        phase=PHASES.get(phase, Phase.PENDING),
        progress=status.get("progress") or "",
        message=status.get("message") or "",
        created=metadata.get("creationTimestamp") or "",
        started=status.get("startedAt") or "",
        finished=status.get("finishedAt") or "",
        uid=metadata.get("uid") or "",
        digest=annotations.get(v.DIGEST, ""),
    )
