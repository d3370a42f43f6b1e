"""Look at a real cluster: each thing once, many at the same time, secrets without their values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from heraci.cluster import Cluster, ConflictError, ForbiddenError, MissingError, RejectedError
from heraci.cluster.errors import parts
from heraci.looks import Answer, Look, Seen

# Objects in one page of a list: metadata is small, whole objects may be not.
PAGE, METADATA_PAGE = 500, 5000

_METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
DISCOVERY = ",".join((_DISCOVERY.format("v2"), _DISCOVERY.format("v2beta1"), "application/json"))
DRY_RUN = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "heraci"}


class Inventory:
    """Answers looks at one cluster, and remembers; `requests` and `dry_runs` count what was sent.

    What stops all of it (no connection, bad credentials) is raised as it comes.
    """

    def __init__(self, cluster: Cluster, *, concurrency: int = 8) -> None:
        self._cluster = cluster
        self._concurrency = concurrency
        self._known: dict[Look, Seen] = {}
        self.requests = 0
        self._counting = Lock()
        self.dry_runs = 0

    def look(self, looks: Iterable[Look]) -> Mapping[Look, Seen]:
        """Answer these, and give all that is known by now."""
        new = [each for each in dict.fromkeys(looks) if each not in self._known]
        if new:
            # The first alone: where nothing answers, one request is enough to know it.
            first = 0 if self._known else 1
            for each in new[:first]:
                self._known[each] = self._ask(each)
            with ThreadPoolExecutor(self._concurrency) as pool:
                self._known.update(zip(new[first:], pool.map(self._ask, new[first:]), strict=True))
        return self._known

    def try_out(self, looks: Sequence[Look]) -> list[Seen]:
        """Ask the server whether it would take these objects; nothing is created."""
        self.dry_runs += len(looks)
        with ThreadPoolExecutor(self._concurrency) as pool:
            return list(pool.map(self._try, looks))

    def _ask(self, look: Look) -> Seen:
        try:
            return Seen(items=tuple(_shown(look, each) for each in self._items(look)))
        except ForbiddenError as error:
            return Seen(answer=Answer.FORBIDDEN, said=str(error))
        except MissingError as error:
            return Seen(answer=Answer.ABSENT, said=str(error))
        except RejectedError as error:
            return Seen(answer=Answer.REFUSED, said=str(error))

    def _items(self, look: Look) -> list[dict[str, Any]]:
        if look.body is not None:
            self._count()
            return [self._cluster.request("POST", look.path, body=json.loads(look.body))]
        accept = _accept(look)
        items: list[dict[str, Any]] = []
        params: dict[str, str | int | bool | None] = dict(look.params)
        params.setdefault("limit", METADATA_PAGE if look.metadata_only else PAGE)
        while True:
            self._count()
            answer = self._cluster.get(look.path, params, accept=accept)
            if "items" not in answer:
                return [answer]
            items += answer["items"] or ()  # an empty list can be null
            going_on = (answer.get("metadata") or {}).get("continue")
            if not going_on or "limit" in dict(look.params):
                return items
            params["continue"] = going_on

    def _count(self) -> None:
        with self._counting:
            self.requests += 1

    def _try(self, look: Look) -> Seen:
        try:
            body = json.loads(look.body or "null")
            return Seen(items=(self._cluster.request("POST", look.path, DRY_RUN, body),))
        except ConflictError:
            return Seen(said="an object of this name is there already")
        except ForbiddenError as error:
            return Seen(answer=Answer.FORBIDDEN, said=str(error))
        except MissingError as error:
            return Seen(answer=Answer.ABSENT, said=str(error))
        except RejectedError as error:
            return Seen(answer=Answer.REFUSED, said=str(error))


def _accept(look: Look) -> str:
    if look.path == "/apis":
        return DISCOVERY
    if look.metadata_only:
        return _METADATA.format("" if parts(look.path)[3] else "List")
    return "application/json"


def _shown(look: Look, item: dict[str, Any]) -> dict[str, Any]:
    metadata = dict(item.get("metadata") or {})
    metadata.pop("managedFields", None)
    # kubectl apply leaves the whole object in an annotation, a Secret's values with it.
    kept = {k: v for k, v in (metadata.get("annotations") or {}).items() if "last-applied" not in k}
    shown = item | {"metadata": metadata | {"annotations": kept}}
    if look.keys_only:
        shown |= {key: dict.fromkeys(item[key] or {}, "") for key in ("data",) if key in item}
        shown.pop("stringData", None)
    return shown
