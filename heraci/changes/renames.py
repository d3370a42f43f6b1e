"""Which added experiments are removed ones under another name or at another place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from posixpath import basename

from heraci.changes.difference import Difference, differences
from heraci.changes.experiments import Experiment
from heraci.tree import Tree


def renamed(
    difference: Difference, gone: Sequence[Experiment], come: Sequence[Experiment]
) -> dict[Experiment, Experiment]:
    """The added experiments that are removed ones, each with the one that it was.

    It has the same entry, and of several the likest folder; or else the same name.
    """
    base, head = difference.base.tree, difference.head.tree
    left: dict[str, list[Experiment]] = {}
    for each in gone:
        if each.path in difference.changed and each.path not in head.files:
            left.setdefault(base.files[each.path], []).append(each)
    origins = {}
    for each in come if left else ():
        same = left.get(head.files.get(each.path, ""), [])
        if same:
            after = _contents(head, each.folder)
            likest = max(
                same,
                key=lambda old: (
                    len(_contents(base, old.folder) & after),
                    basename(old.path) == basename(each.path),
                ),
            )
            same.remove(likest)
            origins[each] = likest
    moved = set(origins.values())
    names = {each.name: each for each in gone if each not in moved}
    return {each: names[each.name] for each in come if each.name in names} | origins


def edited_on_the_way(difference: Difference, folder: str, old: str) -> Iterator[str]:
    """What differs in a folder besides its place."""
    before = dict(_contents(difference.base.tree, old))
    after = dict(_contents(difference.head.tree, folder))
    for name, verb in differences(before, after).items():
        yield f"{old if verb == 'was removed' else folder}/{name} {verb}"


def _contents(tree: Tree, folder: str | None) -> set[tuple[str, str]]:
    start = f"{folder}/"
    return {(p[len(start) :], tree.files[p]) for p in tree.files if folder and p.startswith(start)}
