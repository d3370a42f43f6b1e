"""The fence to Git: snapshots of a repository's files, and which two of them to compare.

Git's own plumbing is run, not GitPython: that library hands the whole environ of heraci, tokens
among it, to each git process and to the filters these start, and importing it takes a tenth of a
second, which is more than all that is asked of Git here.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import IO, Any, Protocol, Self, cast

from heraci.errors import GitError, SettingsError

LINK = "link:"
SUBMODULE = "submodule:"

_PART = 1 << 14
_LARGEST_KEPT = 1 << 16  # bytes of one file, and of all
_MOST_KEPT = 64 << 20
# Neither through a link, nor waiting for a pipe that somebody put in a file's place.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ZEROS = re.compile(r"0{40}(?:0{24})?")
_EMPTY_TREES = frozenset(
    {
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
    }
)
_CONFIG = (
    # Names as they are, and no program started because a repository's configuration names one.
    *("-c", "core.quotePath=false"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
)
_ENVIRON = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
    *("GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_EXEC_PATH"),
)


# --- running git -------------------------------------------------------------------------------


class _Git:
    """Runs git in one folder, with an environ that neither misdirects it nor holds a secret."""

    def __init__(self, folder: Path, trusted: Path | None = None) -> None:
        self.folder = folder
        self.environ = {name: os.environ[name] for name in _ENVIRON if name in os.environ}
        self.environ |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
        if trusted:
            self.environ |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": str(trusted),
            }

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                ["git", *_CONFIG, *arguments],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError:
            if not self.folder.is_dir():
                raise GitError(f"{self.folder} is not a folder") from None
            raise GitError("git is not installed, or not on PATH: install it") from None

    def ask(self, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
        process = self.start(*arguments)
        output, error = process.communicate(stdin)
        return process.returncode, output, error.decode(errors="replace").strip()

    def run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        return finish(self.start(*arguments), stdin)

    def line(self, *arguments: str) -> str | None:
        """The one line that git answers, None where it says no."""
        code, output, _ = self.ask(*arguments)
        return _text(output).strip("\n") or None if code == 0 else None


def finish(process: subprocess.Popen[bytes], stdin: bytes = b"") -> bytes:
    """What a started git process writes; its last words as the error where it fails."""
    output, error = process.communicate(stdin)
    if process.returncode:
        said = error.decode(errors="replace").strip() or f"exit code {process.returncode}"
        command = " ".join(map(str, process.args[1 + len(_CONFIG) :]))  # type: ignore[index]
        raise GitError(f"`git {command}` failed: {said}")
    return output


def _text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")


def _fields(output: bytes) -> Iterator[str]:
    return (each for each in _text(output).split("\0") if each)


class _Objects:
    """Blobs by id, from one `git cat-file --batch` that lives as long as it is asked."""

    _AT_ONCE = 256  # ids written before answers are read: both pipes stay below their size

    def __init__(self, git: _Git) -> None:
        self._git = git
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, ids: Sequence[str]) -> Iterator[bytes]:
        process = self._process = self._process or self._git.start("cat-file", "--batch")
        for start in range(0, len(ids), self._AT_ONCE):
            chunk = ids[start : start + self._AT_ONCE]
            stdin = cast("IO[bytes]", process.stdin)
            stdin.write("".join(f"{each}\n" for each in chunk).encode())
            stdin.flush()
            # All of a chunk is taken before it is handed on, so that nobody can leave half of it.
            yield from [self._answer(process, each) for each in chunk]

    def _answer(self, process: subprocess.Popen[bytes], wanted: str) -> bytes:
        stdout = cast("IO[bytes]", process.stdout)
        header = stdout.readline().split()
        if len(header) != 3:
            raise GitError(
                f"Git has no object {wanted} (a damaged or partial clone): run `git fsck`, "
                "or clone again without --filter"
            )
        return stdout.read(int(header[2]) + 1)[:-1]

    def close(self) -> None:
        if self._process:
            self._process.communicate()
            self._process = None


# --- trees -------------------------------------------------------------------------------------


class _Files(Mapping[str, str]):
    """Path -> identity, where identities that cost a hash are found out when first asked for."""

    def __init__(self, known: dict[str, str], hashed: Callable[[str], str]) -> None:
        self._known = known
        self._hashed = hashed

    def __getitem__(self, path: str) -> str:
        identity = self._known[path]
        if not identity:
            identity = self._known[path] = self._hashed(path)
        return identity

    def __contains__(self, path: object) -> bool:
        return path in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class _Linked:
    """What all trees share: symbolic links are followed inside the tree and never out of it."""

    label: str
    files: Mapping[str, str]
    _links: Mapping[str, str] | None = None

    def _contents(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        raise NotImplementedError

    def _targets(self, paths: Sequence[str]) -> Mapping[str, str]:
        raise NotImplementedError

    def _link_paths(self) -> list[str]:
        return [path for path, identity in self.files.items() if identity.startswith(LINK)]

    @property
    def links(self) -> Mapping[str, str]:
        """Each symbolic link with its target as it was written."""
        if self._links is None:
            self._links = self._targets(self._link_paths())
        return self._links

    def locate(self, path: str) -> str | None:
        """The real file that a path leads to; None where there is none or it lies outside."""
        for _ in range(40):
            if path in self.files and path not in self.links:
                return None if self.files[path].startswith(SUBMODULE) else path
            link = next((each for each in _and_parents(path) if each in self.links), None)
            if link is None:
                return None
            path = normpath(join(dirname(link), self.links[link] + path[len(link) :]))
            if path.startswith(("/", "../")) or path == "..":
                return None
        return None

    def read(self, path: str) -> bytes:
        """The content of one file."""
        return self.read_many([path])[path]

    def read_many(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """The contents of many files at once, links followed."""
        if not self.links:
            paths = list(paths)
            lost = next((path for path in paths if path not in self.files), None)
            if lost is None:
                return self._contents(paths)
        places = {path: self.locate(path) for path in paths}
        lost = next((path for path, place in places.items() if place is None), None)
        if lost is not None:
            raise GitError(f"{lost} is not a file of the {self.label}, or leads out of it")
        contents = self._contents(list({place: None for place in places.values() if place}))
        return {path: contents[place] for path, place in places.items() if place}


def _and_parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = dirname(path)


class EmptyTree(_Linked):
    """The tree before the first commit."""

    label = "empty tree"
    files: Mapping[str, str] = {}

    def _contents(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        return dict.fromkeys(paths, b"")

    def _targets(self, paths: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(paths, "")


class CommitTree(_Linked):
    """The files of one commit, read from Git's objects and never checked out."""

    def __init__(self, listing: bytes, objects: _Objects, sha: str) -> None:
        self.label = f"commit {sha[:10]}"
        self.commit = sha
        self.files = dict(_tree_entries(listing))
        self._objects = objects

    def _contents(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        ids = [self.files[path].removeprefix(LINK) for path in paths]
        return dict(zip(paths, self._objects.read(ids), strict=True))

    def _targets(self, paths: Sequence[str]) -> Mapping[str, str]:
        return {path: _text(target) for path, target in self._contents(paths).items()}


def _tree_entries(listing: bytes) -> Iterator[tuple[str, str]]:
    """`MODE TYPE ID<tab>PATH` of ls-tree."""
    for entry in _fields(listing):
        mode, _, rest = entry.split(" ", 2)
        blob, _, path = rest.partition("\t")
        yield path, blob if mode == "100644" else _identity(mode, blob)


def _identity(mode: str, blob: str) -> str:
    # The executable bit is left out: it decides nothing of what Python compiles to.
    if mode == "120000":
        return LINK + blob
    return SUBMODULE + blob if mode == "160000" else blob


class _OnDisk(_Linked):
    """What trees share whose files lie in a folder."""

    _new_hash: Callable[[bytes], Any] = hashlib.sha1

    def __init__(self, root: Path) -> None:
        self.root = root
        self._top = str(root)  # joining Paths is slow for thousands of files
        # What was hashed is what is scanned and staged, though somebody edits it meanwhile.
        self._kept: dict[str, bytes] = {}
        self._room = _MOST_KEPT

    def _contents(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        return {path: self._read_file(path) for path in paths}

    def _targets(self, paths: Sequence[str]) -> Mapping[str, str]:
        return {path: str((self.root / path).readlink()) for path in paths}

    def _read_file(self, path: str) -> bytes:
        content = self._kept.get(path)
        if content is None:
            content = self._read_anew(path)
            if len(content) <= min(_LARGEST_KEPT, self._room):
                self._kept[path] = content
                self._room -= len(content)
        return content

    def _read_anew(self, path: str) -> bytes:
        try:
            descriptor = os.open(f"{self._top}/{path}", _FLAGS)
            try:
                parts = [os.read(descriptor, _PART)]
                while len(parts[-1]) == _PART:
                    parts.append(os.read(descriptor, _PART))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise GitError(f"{path} cannot be read: {error.strerror}") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _hash(self, path: str) -> str:
        """The id that Git would give this file's content."""
        place = f"{self._top}/{path}"
        mark = LINK if stat.S_ISLNK(os.lstat(place).st_mode) else ""
        content = os.fsencode(Path(place).readlink()) if mark else self._read_file(path)
        return mark + str(self._new_hash(b"blob %d\0" % len(content) + content).hexdigest())

    def _link_paths(self) -> list[str]:
        raise NotImplementedError


class WorkTree(_OnDisk):
    """The checked out files, uncommitted changes and untracked files included.

    The identity of a clean file is taken from the index; only the others are ever hashed. `edited`
    says that there are files which differ from the index.
    """

    label = "working tree"

    def __init__(
        self, root: Path, listing: bytes, dirty: Callable[[], bytes], objects: _Objects
    ) -> None:
        super().__init__(root)
        self._objects = objects
        self._absent: set[str] = set()
        index = self._index(listing)
        if index and len(next(iter(index.values())).rpartition(":")[2]) == 64:
            self._new_hash = hashlib.sha256
        listed = dirty()
        self.edited = bool(listed)
        changed = self._changed(listed, index)
        self._index_links = [path for path, each in index.items() if each.startswith(LINK)]
        self._new = [path for path in changed if path in index]
        self.files = _Files(index, self._hash)

    def _index(self, listing: bytes) -> dict[str, str]:
        """`TAG MODE ID STAGE<tab>PATH` of ls-files; a conflict's three stages are one file."""
        index = {}
        for entry in _fields(listing):
            tag, mode, blob, rest = entry.split(" ", 3)
            path = rest[2:]
            index[path] = blob if mode == "100644" else _identity(mode, blob)
            if tag == "S":  # not checked out: a sparse checkout
                self._absent.add(path)
        return index

    def _changed(self, dirty: bytes, index: dict[str, str]) -> list[str]:
        """Mark what differs from the index, forget what is gone, add what is untracked."""
        changed = []
        entries = [(entry[0], entry[2:]) for entry in _fields(dirty)]
        gone = {path for tag, path in entries if tag == "R"}
        for path in gone:
            del index[path]
        for _, path in entries:
            if path in gone or path.endswith("/"):  # the latter: a repository, yet no submodule
                continue
            if index.get(path, "").startswith(SUBMODULE):
                index[path] = SUBMODULE + (self._submodule_head(path) or "changed")
            else:
                index[path] = ""
                changed.append(path)
        return changed

    def _submodule_head(self, path: str) -> str | None:
        return _Git(self.root / path).line("rev-parse", "--verify", "--quiet", "HEAD")

    def _link_paths(self) -> list[str]:
        new = [path for path in self._new if (self.root / path).is_symlink()]
        return [*(path for path in self._index_links if self._is_link(path)), *new]

    def _is_link(self, path: str) -> bool:
        return path in self.files and path not in self._new

    def _contents(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        absent = [path for path in paths if path in self._absent]
        stored = self._objects.read([self.files[path].removeprefix(LINK) for path in absent])
        contents = dict(zip(absent, stored, strict=True))
        return {
            path: contents[path] if path in contents else self._read_file(path) for path in paths
        }

    def _targets(self, paths: Sequence[str]) -> Mapping[str, str]:
        absent = {path for path in paths if path in self._absent}
        stored = self._contents(sorted(absent))
        return {
            path: _text(stored[path]) if path in absent else str((self.root / path).readlink())
            for path in paths
        }


class Folder(_OnDisk):
    """A folder outside Git: no history, so nothing to compare with."""

    label = "folder"

    def __init__(self, root: Path, *, output: str | None = None) -> None:
        super().__init__(root.absolute())
        known = dict.fromkeys(_walk(self.root, "", output and normpath(output)), "")
        self.files = _Files(known, self._hash)

    def _link_paths(self) -> list[str]:
        return [path for path in self.files if (self.root / path).is_symlink()]


_SKIPPED = frozenset({"__pycache__", "node_modules"})


def _walk(root: Path, folder: str, output: str | None) -> Iterator[str]:
    with os.scandir(f"{root}/{folder}") as found:
        entries = sorted(found, key=lambda entry: entry.name)
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return
    for entry in entries:
        path = join(folder, entry.name)
        if entry.is_symlink() or entry.is_file():
            yield path
        elif entry.is_dir() and not (
            entry.name.startswith(".") or entry.name in _SKIPPED or path == output
        ):
            yield from _walk(root, path, output)


# --- the repository ----------------------------------------------------------------------------


class Repository:
    """One repository and the questions that heraci has for it."""

    def __init__(self, git: _Git, root: Path, *, bare: bool, shallow: bool) -> None:
        self.root = root
        self.bare = bare
        self.shallow = shallow
        self._git = git
        self._objects = _Objects(git)
        self._trees: dict[str | None, CommitTree] = {}

    @classmethod
    def open(cls, directory: Path) -> Repository | None:
        """The repository that a folder belongs to; None outside Git."""
        directory = directory.absolute()
        if not _marked(directory):
            return None
        git = _Git(directory)
        code, output, error = git.ask(*_ABOUT)
        if code and "dubious ownership" in error:
            git = _Git(directory, trusted=_own(directory))
            code, output, error = git.ask(*_ABOUT)
        bare, shallow, *top = _text(output).split("\n", 2)[:3] if output else ("", "", "")
        if code and bare != "true":
            if "not a git repository (or any" in error:
                return None
            raise GitError(f"Git does not read the repository of {directory}: {error}")
        root = Path(top[0].removesuffix("\n")) if bare != "true" else directory
        git.folder = root
        return cls(git, root, bare=bare == "true", shallow=shallow == "true")

    def close(self) -> None:
        """End the process that reads objects."""
        self._objects.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Commits

    def head_commit(self) -> str | None:
        """The commit that is checked out; None before the first one."""
        return self._commit("HEAD")

    def branch(self) -> str | None:
        """The branch that is checked out, without refs/heads/; None when detached."""
        name = self._git.line("symbolic-ref", "--quiet", "HEAD")
        return name.removeprefix("refs/heads/") if name else None

    def has(self, sha: str) -> bool:
        """Whether the commit and its tree are here."""
        return bool(_SHA.fullmatch(sha)) and self._commit(sha) is not None

    def history(self, of: str = "HEAD", since: str | None = None) -> tuple[str, ...]:
        """The commits that lead to one, the newest first, as far as they are; with it itself."""
        ends = [of, *([f"^{since}"] if since else [])]
        code, output, _ = self._git.ask("rev-list", "--first-parent", "--end-of-options", *ends)
        return tuple(_text(output).split()) if code == 0 else ()

    def parents(self, sha: str) -> tuple[str, ...]:
        """The parents that a commit names, also those that a shallow clone left out."""
        raw = self._git.run("cat-file", "commit", _valid(sha)).decode(errors="replace")
        lines = raw.partition("\n\n")[0].split("\n")
        return tuple(line[7:] for line in lines if line.startswith("parent "))

    def _commit(self, ref: str) -> str | None:
        return self._git.line(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"
        )

    def resolve(self, ref: str) -> str:
        """The commit that a branch, a tag or a SHA names."""
        sha = self._commit(ref) if ref and "\0" not in ref else None
        if sha:
            return sha
        if _SHA.fullmatch(ref):
            raise GitError(
                f"commit {ref} is not in this clone (a shallow clone, or a force push removed it): "
                f"run `git fetch origin {ref}`, or give actions/checkout `fetch-depth: 0`"
            )
        raise GitError(
            f"{ref!r} names no branch, tag or commit of this clone: run `git fetch origin`, or "
            "give actions/checkout `fetch-depth: 0`"
        )

    def common(self, a: str, b: str) -> str | None:
        """The best common ancestor that this clone knows of."""
        code, output, error = self._git.ask("merge-base", _valid(a), _valid(b))
        if code > 1:
            raise GitError(f"`git merge-base {a} {b}` failed: {error}")
        return _text(output).strip() or None

    def merge_base(self, a: str, b: str) -> str:
        """The best common ancestor; an error that says what to do where there is none."""
        found = self.common(a, b)
        if found:
            return found
        if self.shallow:
            raise GitError(
                f"this clone is shallow and does not reach the common ancestor of {a[:10]} and "
                f"{b[:10]}: run `git fetch --unshallow`, or give actions/checkout "
                "`fetch-depth: 0`"
            )
        raise GitError(
            f"{a[:10]} and {b[:10]} have no common ancestor, so there is nothing to compare "
            "with: name a base that shares history with `--base`, or take all with `--all`"
        )

    def default_branch(self) -> str | None:
        """The full name of the branch that others merge into, the remote's before the local."""
        names = ("remotes/origin/HEAD", *_MAIN)
        output = self._git.run(
            "for-each-ref", "--format=%(refname) %(symref)", *(f"refs/{name}" for name in names)
        )
        found = dict(line.split(" ", 1) for line in _text(output).splitlines())
        if "refs/remotes/origin/HEAD" in found:
            return found["refs/remotes/origin/HEAD"] or "refs/remotes/origin/HEAD"
        return next((f"refs/{name}" for name in _MAIN if f"refs/{name}" in found), None)

    def upstream(self) -> str | None:
        """The full name of the branch that the one checked out follows."""
        name = self._git.line("rev-parse", "--symbolic-full-name", "HEAD@{upstream}")
        return name if name and self._commit(name) else None

    # Trees

    def work_tree(self) -> WorkTree:
        """The files as they are on disk."""
        return self._work_tree(self._start_work_tree())

    def commit_tree(self, sha: str | None) -> CommitTree | EmptyTree:
        """The files of a commit; None is the time before the first one."""
        return self._commit_tree(sha, self._start_commit_tree(sha))

    def trees(
        self, chosen: Range
    ) -> tuple[CommitTree | EmptyTree, CommitTree | WorkTree | EmptyTree]:
        """Both ends of a range, base and head, listed at the same time."""
        before = self._start_commit_tree(chosen.merge_base)
        if chosen.head is None:
            working = self._start_work_tree()
            return self._commit_tree(chosen.merge_base, before), self._work_tree(working)
        after = self._start_commit_tree(chosen.head)
        base = self._commit_tree(chosen.merge_base, before)
        return base, self._commit_tree(chosen.head, after)

    def _start_work_tree(self) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        if self.bare:
            raise GitError(
                f"{self.root} is a bare repository, without files: name a commit with `--head`"
            )
        tracked = self._git.start("ls-files", "-s", "-t", "-z")
        options = ("-m", "-d", "-o", "--exclude-standard")
        return tracked, self._git.start("ls-files", "-t", "-z", *options)

    def _work_tree(
        self, started: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]
    ) -> WorkTree:
        tracked, dirty = started
        return WorkTree(self.root, finish(tracked), lambda: finish(dirty), self._objects)

    def _start_commit_tree(self, sha: str | None) -> subprocess.Popen[bytes] | None:
        if sha is None or _nothing(sha) or sha in self._trees:
            return None
        return self._git.start("ls-tree", "-r", "-z", "--full-tree", _valid(sha))

    def _commit_tree(
        self, sha: str | None, started: subprocess.Popen[bytes] | None
    ) -> CommitTree | EmptyTree:
        if sha is not None and started is not None:
            self._trees[sha] = CommitTree(finish(started), self._objects, sha)
        return self._trees.get(sha) or EmptyTree()

    def is_dirty(self, tree: CommitTree | EmptyTree | WorkTree) -> bool:
        """Whether a tree holds what no commit does."""
        if not isinstance(tree, WorkTree):
            return False
        if tree.edited or self.head_commit() is None:
            return True
        return self._git.ask("diff-index", "--cached", "--quiet", "HEAD", "--")[0] != 0

    def changed_files(self, base: str | None, head: str | None) -> tuple[str, ...]:
        """Paths that differ between two commits; head None is the working tree."""
        before = self.commit_tree(base)
        after = self.commit_tree(head) if head else self.work_tree()
        return tuple(sorted(differing(before.files, after.files)))


def differing(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Paths that only one side has, or that differ."""
    yield from (path for path in before if path not in after)
    yield from (path for path in after if path not in before or before[path] != after[path])


_MAIN = ("remotes/origin/main", "remotes/origin/master", "heads/main", "heads/master")
_ABOUT = ("rev-parse", "--is-bare-repository", "--is-shallow-repository", "--show-toplevel")


def _marked(directory: Path) -> bool:
    """Whether a folder or one above it looks like Git's, before a process is started to know."""
    return any(
        (each / ".git").exists() or ((each / "HEAD").is_file() and (each / "objects").is_dir())
        for each in (directory, *directory.parents)
    )


def _own(directory: Path) -> Path:
    """The root to trust although another user owns it, where that is an Action's own checkout."""
    top = next((e for e in (directory, *directory.parents) if (e / ".git").exists()), directory)
    if not os.environ.get("CI"):
        raise GitError(
            f"another user owns {top}, so Git does not read it: run "
            f"`git config --global --add safe.directory {top}` if you trust it"
        )
    return top.resolve()


def _nothing(ref: str) -> bool:
    """Whether a ref stands for no files at all, as before the first commit."""
    return bool(_ZEROS.fullmatch(ref)) or ref in _EMPTY_TREES


def _valid(sha: str) -> str:
    if not _SHA.fullmatch(sha):
        raise GitError(f"{sha!r} is not the full id of a commit")
    return sha


# --- which two trees ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """What is compared with what.

    `base` is what was asked for (a branch's tip, the commit before a push), `merge_base` the commit
    whose files are compared; None is the empty tree. `head` None is the working tree. `kind`
    `"all"` means that nothing is compared, `"nothing"` that there is nothing to do.
    """

    kind: str
    base: str | None = None
    head: str | None = None
    merge_base: str | None = None
    note: str = ""


class Questions(Protocol):
    """What choosing a range asks of Git."""

    @property
    def shallow(self) -> bool: ...
    def head_commit(self) -> str | None: ...
    def has(self, sha: str) -> bool: ...
    def parents(self, sha: str) -> tuple[str, ...]: ...
    def resolve(self, ref: str) -> str: ...
    def merge_base(self, a: str, b: str) -> str: ...
    def default_branch(self) -> str | None: ...
    def branch(self) -> str | None: ...
    def upstream(self) -> str | None: ...


def range_between(ask: Questions, base: str | None = None, head: str | None = None) -> Range:
    """The range that flags name, on a laptop or anywhere."""
    end = ask.resolve(head) if head else ask.head_commit()
    if base and _nothing(base):
        return Range(kind="refs", head=end if head else None, note="compared with no files at all")
    if end is None:
        return Range(kind="working-tree", note="no commit yet: everything is new")
    tip = ask.resolve(base) if base else _usual_base(ask, end)
    return Range(
        kind="refs" if base or head else "working-tree",
        base=tip,
        head=end if head else None,
        merge_base=tip if tip == end else ask.merge_base(tip, end),
        note="" if tip != end or head else "only what is not committed",
    )


def event_range(environ: Mapping[str, str], payload: Mapping[str, Any], ask: Questions) -> Range:
    """The range that a GitHub event means, for the commit that is checked out.

    The base of a pull request is the first parent of the merge commit that GitHub made:
    `base.sha` of the payload is often older than what was merged with.
    """
    event = environ.get("GITHUB_EVENT_NAME", "")
    if event == "pull_request":
        return _pull_request(payload, ask)
    if event == "pull_request_target":
        raise SettingsError(
            "pull_request_target runs strangers' code beside secrets: use `on: pull_request`"
        )
    if event == "merge_group":
        base, head = (_said(payload, "merge_group", f"{end}_sha") for end in ("base", "head"))
        return _two_ends("merge-group", base, head, ask)
    if event == "push":
        return _push(environ, payload, ask)
    chosen = (payload.get("inputs") or {}).get("base") if event == "workflow_dispatch" else None
    if chosen:
        return replace(range_between(ask, chosen, "HEAD"), kind="workflow-dispatch")
    return Range(
        kind="all", head=ask.head_commit(), note=f"the event {event or 'none'} names no base"
    )


def _said(payload: Mapping[str, Any], *keys: str) -> str:
    """What a payload says at a place where each of its kind says something."""
    found: Any = payload
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, str) or not found:
        raise GitError(
            f"the event's payload does not say {'.'.join(keys)}, which the commit to compare with "
            "is found by: name it with `--base`, or take all with `--all`"
        )
    return found


def _pull_request(payload: Mapping[str, Any], ask: Questions) -> Range:
    if payload.get("action") == "closed":
        return Range(kind="nothing", note="a closed pull request: what it merged arrives as a push")
    head = _checked_out(ask)
    parents, wanted = ask.parents(head), _said(payload, "pull_request", "head", "sha")
    if head == wanted:
        # Not the merge commit: the workflow checked out the pull request's own commit.
        branch = _said(payload, "pull_request", "base", "ref")
        tip = ask.resolve(f"refs/remotes/origin/{branch}")
        common = ask.merge_base(tip, head)
        return Range(kind="pull-request", base=tip, head=head, merge_base=common)
    if len(parents) < 2:
        raise GitError(
            f"{head[:10]} is checked out, which is neither the pull request's head {wanted[:10]} "
            "nor a merge of it: let actions/checkout take its default ref, or name the commit to "
            "compare with by `--base`"
        )
    if parents[1] != wanted:
        raise GitError(
            f"the merge commit {head[:10]} was made for {parents[1][:10]}, but the pull request's "
            f"head is {wanted[:10]}: run the workflow again, on the newest commit"
        )
    _must_have(ask, parents[0], "`fetch-depth: 2`")
    return Range(kind="pull-request", base=parents[0], head=head, merge_base=parents[0])


def _push(environ: Mapping[str, str], payload: Mapping[str, Any], ask: Questions) -> Range:
    ref = payload.get("ref") or environ.get("GITHUB_REF", "")
    before, after = _said(payload, "before"), _said(payload, "after")
    if payload.get("deleted") or _ZEROS.fullmatch(after):
        return Range(kind="nothing", note=f"{ref} was deleted")
    if ref.startswith("refs/tags/"):
        return Range(kind="all", head=ask.head_commit(), note=f"the tag {ref[10:]} has no base")
    if _ZEROS.fullmatch(before):
        return _new_branch(ref, after, _said(payload, "repository", "default_branch"), ask)
    note = "a force push: compared with what it replaced" if payload.get("forced") else ""
    return replace(_two_ends("push", before, after, ask), note=note)


def _new_branch(ref: str, after: str, default: str, ask: Questions) -> Range:
    _must_have(ask, after)
    if ref == f"refs/heads/{default}":
        return Range(kind="new-branch", head=after, note="the first push: everything is new")
    tip = ask.resolve(f"refs/remotes/origin/{default}")
    return Range(kind="new-branch", base=tip, head=after, merge_base=ask.merge_base(tip, after))


def _two_ends(kind: str, before: str, after: str, ask: Questions) -> Range:
    """What a branch was and what it is: right for merges, squashes and rebases alike."""
    _must_have(ask, after)
    _must_have(ask, before)
    return Range(kind=kind, base=before, head=after, merge_base=before)


def _checked_out(ask: Questions) -> str:
    head = ask.head_commit()
    if head is None:
        raise GitError("nothing is checked out: let actions/checkout run before heraci")
    return head


def _must_have(ask: Questions, sha: str, depth: str = "`fetch-depth: 0`") -> None:
    if not ask.has(sha):
        raise GitError(
            f"commit {sha} is not in this clone: give actions/checkout {depth}, or run "
            f"`git fetch --depth=1 origin {sha}` before; if a force push removed it for good, "
            "name another commit with `--base`"
        )


def _usual_base(ask: Questions, end: str) -> str:
    default, branch = ask.default_branch(), ask.branch()
    on_default = branch and default and default.removeprefix(_remote(default)) == branch
    if on_default or default is None:
        default = ask.upstream() or default
    return ask.resolve(default) if default else end


def _remote(ref: str) -> str:
    return "refs/heads/" if ref.startswith("refs/heads/") else "refs/remotes/origin/"
