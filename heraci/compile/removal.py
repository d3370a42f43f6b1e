"""Removes what strangers left, however deep it is."""

from __future__ import annotations

import contextlib
import os
import stat


def remove_tree(path: str) -> None:
    """Remove a file, or a folder however deep it is; what cannot be removed stays.

    A folder in a folder is moved up before it is emptied, so neither recursion nor the length of a
    path ends this. Nothing may be writing there any more.
    """
    waiting = [path]
    number = 0
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        # Next to it no name can be taken on purpose by what lies inside.
        parent = os.path.dirname(path)
    while waiting:
        folder = waiting.pop()
        with contextlib.suppress(OSError):
            os.chmod(folder, 0o700)
            for entry in list(os.scandir(folder)):
                with contextlib.suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)
                        continue
                    os.chmod(entry.path, 0o700)
                    number += 1
                    moved = f"{parent}/.gone-{os.getpid()}-{number}"
                    os.rename(entry.path, moved)
                    waiting.append(moved)
            os.rmdir(folder)
