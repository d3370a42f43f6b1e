"""Compile: experiments in, the documents that they would submit out, each from its own process."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from heraci.bundle import Finding
from heraci.compile.attempt import Attempt, holds_in
from heraci.compile.cache import Cache, preserve, revive
from heraci.compile.environments import Environment, Environments, Wanted
from heraci.compile.result import checked, read
from heraci.compile.values import Outcome, Request, failed, problem
from heraci.compile.workers import Task, Workers


class Compiler:
    """Compiles requests, the cached ones first; a context manager that ends every worker."""

    def __init__(
        self,
        *,
        jobs: int,
        cache: Cache | None,
        environments: Environments,
        secrets: Sequence[str] = (),
    ) -> None:
        # One more slot than processors: a worker is ready while another's result is written.
        self._workers = Workers(jobs=jobs + 1, needed=environments.folders)
        self._environments = environments
        self._cache = cache
        self._secrets = [each for each in secrets if len(each) >= 8]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._workers.__exit__(*raised)

    @property
    def isolated(self) -> bool:
        """Tell whether each worker runs under a uid of its own."""
        return self._workers.isolated

    def warm_up(self, expected: int) -> None:
        """Let the first worker get ready while the requests, about so many, are still made."""
        self._workers.expected = expected
        self._workers.warm_up()

    def compile(self, requests: Sequence[Request]) -> Iterator[tuple[Request, Outcome]]:
        """Compile each request and give it with its outcome, in the order of completion."""
        environments = self._prepare(requests)
        waiting: deque[Attempt] = deque()
        for request, environment in zip(requests, environments, strict=True):
            if isinstance(environment, Finding):
                finding = replace(environment, experiment=request.name)
                yield request, failed(request, finding)
            elif request.tree.locate(request.path) is None:
                message = "is a link that leads out of the repository, or to nothing"
                yield request, failed(request, problem(request, "compile-failed", message))
            else:
                waiting.append(Attempt(request, environment))
        found = self._recall(waiting)
        missing = [each for each in waiting if id(each) not in found]
        # Those of one Python after the other: while it is warm.
        attempts = deque(sorted(missing, key=lambda each: str(each.environment.python or "")))
        self._workers.expected = len(attempts)
        for attempt in waiting:
            if id(attempt) in found:
                yield attempt.request, revive(attempt.request, found[id(attempt)])
        yield from self._run(attempts)

    def _prepare(self, requests: Sequence[Request]) -> list[Environment | Finding]:
        """Give the Python that each request runs with, or what is wrong with it."""
        wanted = [
            Wanted(
                path=each.path, dependencies=each.dependencies, python=each.python, tree=each.tree
            )
            for each in requests
        ]
        return self._environments.prepare(wanted, self._workers)

    def _recall(self, attempts: Iterable[Attempt]) -> dict[int, dict[str, Any]]:
        """Give what the cache knows of each attempt, by its id.

        Base and head may share a key and yet differ in what the experiment will touch.
        """
        if self._cache is None:
            return {}
        found = {}
        trees = {id(each.request.tree): each.request.tree for each in attempts}
        for tree in trees.values():
            asked = [each for each in attempts if each.request.tree is tree]
            known = self._cache.find(dict.fromkeys(each.key for each in asked), holds_in(tree))
            found.update({id(each): known[each.key] for each in asked if each.key in known})
        return found

    def _run(self, attempts: deque[Attempt]) -> Iterator[tuple[Request, Outcome]]:
        if attempts:
            # What is here now stays until the end: collecting it takes a tenth of the time.
            gc.freeze()
            gc.set_threshold(50_000, 20, 50)
            gc.enable()
        running: dict[str, Attempt] = {}
        kept: list[tuple[str, Mapping[str, str], str]] = []
        number = 0

        def next_task() -> Task | None:
            nonlocal number
            if not attempts:
                return None
            number += 1
            attempt = attempts.popleft()
            running[str(number)] = attempt
            return attempt.task(str(number), self._environments.authors)

        try:
            for task, ended in self._workers.run(next_task):
                attempt = running.pop(task.label)
                ended = checked(ended)
                again = attempt.with_files(ended) or attempt.elsewhere(ended)
                if again is not None:
                    attempts.appendleft(again)
                    continue
                outcome = replace(
                    read(attempt.request, ended, self._secrets),
                    pins=attempt.environment.pins,
                    source_files=attempt.sources(ended),
                )
                if attempt.cacheable(ended):
                    kept.append((attempt.key, attempt.extra(ended), preserve(outcome)))
                yield attempt.request, outcome
        finally:
            if self._cache is not None:
                self._cache.keep(kept)
