"""Starts no program that talks to a cluster, and answers for those that are not there.

A folder of stand-ins leads the path, so that a shell and its scripts find them, too. They tell what
they were asked, and at which of the author's lines.
"""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

from heraci.compile_worker import COMMIT, ENCODED_PLACEHOLDER, PLACEHOLDER_TOKEN
from heraci.compile_worker.after_import import AfterImport
from heraci.compile_worker.children import FOR_CHILDREN, Children
from heraci.compile_worker.outside import Files
from heraci.compile_worker.record import Record

_CLUSTER_PROGRAMS = ("argo", "kubectl", "oc", "helm", "argocd")
_PYTHONS = ("python", "python3")
STARTING = ("os.system", "os.exec", "os.posix_spawn", "os.spawn")
_AT = "HERACI_STARTED_AT"

_TELLING = """\
#!/bin/sh
# Stands in for a program while heraci compiles an experiment.
tell() {
    text=$(printf '%s' "$*" | tr '\\n\\t' '  ' | sed 's/\\\\/\\\\\\\\/g; s/"/\\\\"/g')
    printf '["%s", {"at": "%s", "words": "%s"}]\\n' "$kind" "$HERACI_STARTED_AT" "$text" >> {told}
}
"""
_CLUSTER = (
    _TELLING
    + """\
kind=started
tell "${0##*/}" "$@"
case "$*" in
*'get secret'*) echo {encoded} ;;
*token*) echo {token} ;;
*json*) echo '{}' ;;
esac
"""
)
# The commit is not known yet: its marker is what heraci replaces when it submits. A checkout in CI
# is detached and clean, and so is this one.
_GIT = (
    _TELLING
    + """\
kind=git
[ "$1" = -C ] && shift 2
case "$*" in
version | --version) echo git version 2.40.0 ;;
rev-parse*--show-toplevel*) echo {root} ;;
rev-parse*--abbrev-ref* | symbolic-ref*) echo HEAD ;;
rev-parse*--is-inside-work-tree*) echo true ;;
rev-parse*--git-dir*) echo {root}/.git ;;
rev-parse*HEAD* | describe* | log*[=:]%H | log*[=:]%h | show*[=:]%H | show*[=:]%h)
    tell "$@"
    echo {commit}
    ;;
status* | branch*--show-current* | diff*--quiet* | diff-index*--quiet* | update-index* | fetch*) ;;
*)
    echo "git $*: while heraci compiles, the repository has no history and no remote" >&2
    exit 128
    ;;
esac
"""
)
_PYTHON = """\
#!/bin/sh
exec {python} "$@"
"""


class Programs:
    """Looks at each program that a script starts."""

    def __init__(self, record: Record, files: Files, children: Children) -> None:
        self.record, self.files, self.children = record, files, children
        self.folder: str | None = None
        self.is_made = False

    def install(self, after_import: AfterImport) -> None:
        """Watch the module by which nearly all programs are started."""
        after_import.watch("subprocess", self._watch)
        after_import.watch("git", self._watch_gitpython)

    def start(self) -> None:
        """Let the path of this run begin with the stand-ins."""
        if "TMPDIR" in os.environ:
            self.folder = os.path.join(os.environ["TMPDIR"], ".programs")
            os.environ["PATH"] = self.folder + os.pathsep + os.environ.get("PATH", os.defpath)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """Hear of what is started in another way: Python's own audit events."""
        if event in STARTING:
            self._note(args[0] if event == "os.system" else args[1], None)

    def told(self) -> None:
        """Report what the stand-ins were asked for."""
        for kind, what in self.children.told():
            if kind == "started":
                message = f"{what['words']} is not started while compiling"
                self.record.find("not-sent", "notice", message, self.record.unshown(what["at"]))

    def _watch(self, module: ModuleType) -> None:
        popen: Any = module.Popen
        original = popen.__init__

        @functools.wraps(original)
        def start(process: Any, args: Any, *rest: Any, **options: Any) -> None:
            words = self._note(args, options.get("cwd"))
            if options.get("env") is not None:
                known = {name: os.environ[name] for name in FOR_CHILDREN if name in os.environ}
                options["env"] = {**known, **options["env"], _AT: os.environ[_AT]}
            original(process, _by_name(args, words), *rest, **options)

        popen.__init__ = start

    def _watch_gitpython(self, module: Any) -> None:
        """Let GitPython, which reads the repository's files itself, ask git instead."""
        run = module.Git

        def repository(*args: Any, **options: Any) -> Any:
            git = run(self.record.root)
            commit = SimpleNamespace(hexsha=git.rev_parse("HEAD"))
            head = SimpleNamespace(commit=commit, object=commit, is_detached=True)
            return SimpleNamespace(
                git=git,
                head=head,
                commit=lambda *args: commit,
                is_dirty=lambda **options: False,
                untracked_files=[],
                working_dir=self.record.root,
                working_tree_dir=self.record.root,
                close=lambda: None,
            )

        module.Repo = repository

    def _note(self, args: Any, folder: Any) -> list[str]:
        """Note the files that a command names, and its line; give its words."""
        words = list(_words(args))
        for word in words:
            self.files.note(os.path.join(os.fsdecode(folder), word) if folder else word)
        if self.folder and not self.is_made:
            self._make(self.folder)
        os.environ[_AT] = self.record.shown(self.record.caller()) or ""
        return words

    def _make(self, folder: str) -> None:
        self.is_made = True
        values = {
            "told": shlex.quote(self.children.file or os.devnull),
            "token": PLACEHOLDER_TOKEN,
            "encoded": ENCODED_PLACEHOLDER,
            "root": shlex.quote(self.record.root),
            "commit": COMMIT,
            "python": shlex.quote(sys.executable),
        }
        texts = dict.fromkeys(_CLUSTER_PROGRAMS, _CLUSTER) | dict.fromkeys(_PYTHONS, _PYTHON)
        os.makedirs(folder, exist_ok=True)
        for name, text in {**texts, "git": _GIT}.items():
            for word, value in values.items():
                text = text.replace("{" + word + "}", value)
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(path, 0o700)


def _by_name(args: Any, words: list[str]) -> Any:
    """Have a program of the cluster that is named by its path looked for by its name."""
    name = os.path.basename(words[0]) if words else ""
    if name not in _CLUSTER_PROGRAMS or os.sep not in words[0]:
        return args
    if isinstance(args, (str, bytes)):
        return os.fsdecode(args).replace(words[0], name, 1)
    return [name, *list(args)[1:]] if isinstance(args, (list, tuple)) else name


def _words(args: Any) -> Iterator[str]:
    if isinstance(args, (str, bytes)):
        try:
            args = shlex.split(os.fsdecode(args))
        except ValueError:
            args = ()
    for each in args if isinstance(args, (list, tuple)) else (args,):
        if isinstance(each, (str, bytes, os.PathLike)):
            yield os.fsdecode(each)
