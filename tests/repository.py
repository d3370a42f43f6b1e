"""A real Git repository for tests, written to and asked by the real `git`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A working tree, and what a test does to it.

    The identity, dates and settings of its commits come from the isolated environ of
    `tests/conftest.py`: nothing of the person who runs the tests reaches it.
    """

    path: Path

    @classmethod
    def create(cls, path: Path, *, branch: str = "main") -> Repository:
        """Make an empty repository with one branch that has no commit yet."""
        path.mkdir(parents=True, exist_ok=True)
        repository = cls(path=path)
        repository.git("init", "--quiet", f"--initial-branch={branch}")
        return repository

    def git(self, *arguments: str) -> str:
        """Run one Git command in the working tree; its output without the last line break."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout.removesuffix("\n")

    @property
    def head(self) -> str:
        """The full id of the commit that is checked out."""
        return self.git("rev-parse", "HEAD")

    def write(self, name: str, content: str | bytes = "") -> Path:
        """Put a file into the working tree, its folders with it; nothing is staged."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def delete(self, name: str) -> None:
        """Take a file out of the working tree; nothing is staged."""
        (self.path / name).unlink()

    def rename(self, old: str, new: str) -> None:
        """Move a file as `git mv` does, into folders that need not exist."""
        (self.path / new).parent.mkdir(parents=True, exist_ok=True)
        self.git("mv", "--", old, new)

    def commit(self, message: str = "Change", **files: str | bytes) -> str:
        """Write the files given by name, commit all that lies in the working tree, return the id.

        Names that are no Python identifiers go in as `**{"a folder/é.py": "…"}`.
        """
        for name, content in files.items():
            self.write(name, content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    def branch(self, name: str, start: str = "HEAD") -> None:
        """Make a branch at a commit and check it out."""
        self.git("checkout", "--quiet", "-b", name, start)

    def checkout(self, ref: str) -> None:
        """Check out a branch, or a commit with its head detached."""
        self.git("checkout", "--quiet", ref)

    def merge(self, ref: str, message: str = "Merge") -> str:
        """Merge into the branch checked out, always with a merge commit; return its id."""
        self.git("merge", "--quiet", "--no-ff", "--message", message, ref)
        return self.head

    def clone(
        self, path: Path, *, depth: int | None = None, branch: str | None = None
    ) -> Repository:
        """Clone over `file://`, which unlike a plain path honours a depth."""
        options = [f"--depth={depth}"] if depth else []
        options += [f"--branch={branch}"] if branch else []
        self.git("clone", "--quiet", *options, self.path.as_uri(), str(path))
        return Repository(path=path)
