"""All that was looked at, for `heraci assert --explain`: what was required, then what was asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from heraci.looks import Answer, Look, Seen, name_of
from heraci.preflight.existence import Explained

MOST_NAMES = 20


def explanation(
    explained: Iterable[Explained],
    looked: Iterable[tuple[Look, Seen]],
    *,
    requests: int,
    dry_runs: int,
) -> Iterator[str]:
    """Write it, a line each."""
    parts: dict[str, dict[str, None]] = {}
    for each in explained:
        parts.setdefault(each.experiment, {})[_line(each)] = None
    for experiment, lines in parts.items():
        yield f"{experiment} needs"
        yield from (f"  {line}" for line in lines)
    yield f"The cluster was asked {_times(requests, 'time')}, with {_times(dry_runs, 'dry run')}"
    yield from dict.fromkeys(f"  {_asked(look)}: {_told(look, seen)}" for look, seen in looked)


def _times(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _line(each: Explained) -> str:
    wanted = each.requirement
    keys = f" with {', '.join(filter(None, wanted.keys))}" if any(wanted.keys) else ""
    template = f", template {wanted.template}" if wanted.template else ""
    source = f", {wanted.source}" if wanted.source else ""
    return f"{wanted}{keys} ({wanted.origin}{template}{source}): {each.state}"


def _asked(look: Look) -> str:
    """Say what was asked; a review of rights tells that in its body."""
    spec: Mapping[str, Mapping[str, str]] = json.loads(look.body or "{}").get("spec") or {}
    if attributes := spec.get("resourceAttributes"):
        parts = (attributes["resource"], attributes.get("subresource"))
        user = str(spec.get("user")).removeprefix("system:serviceaccount:").replace(":", "/")
        return f"may {user} {attributes['verb']} {'/'.join(filter(None, parts))}"
    if look.path.endswith("selfsubjectrulesreviews"):
        return f"what this account may do in {spec.get('namespace')}"
    return str(look)


def _told(look: Look, seen: Seen) -> str:
    if seen.answer is not Answer.SEEN:
        return f"{seen.answer}"
    if look.body is not None:
        status = (seen.items[0].get("status") or {}) if seen.items else {}
        rules = status.get("resourceRules")
        if rules is None:
            return "yes" if status.get("allowed") else "no"
        return _times(len(rules), "rule")
    names = [name for name in map(name_of, seen.items) if name]
    more = f", and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    shown = f" ({', '.join(names[:MOST_NAMES])}{more})" if names else ""
    return f"{len(seen.items)} seen{shown}"
