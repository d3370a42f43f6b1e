"""Install an experiment's packages with uv; runs behind the wall, for building runs their code.

Plain standard library, started as a program: `install.py UV` in a task's folder that holds
`requirements/` and `install.json`; leaves the environment in `env` and writes what it holds, as
JSON, to descriptor 3.

An index's address may hold a password. So whatever asks an index comes first, while no file of a
package can run: nothing is built then (`no_build`), and the environment's Python has not been
started since it was filled. What comes after that starts as a new program, which knows no address.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_PYTHON = os.path.join("env", "bin", "python")
_VERSION = "import platform; print(platform.python_version())"


def main() -> None:
    """Make the environment; exit code 1 with uv's own words on standard error where that fails."""
    uv = sys.argv[1]
    if sys.argv[2:] == ["describe"]:
        _describe(uv)
        return
    _install(uv, json.loads(Path("install.json").read_text(encoding="utf-8")))
    # It remembers what it asked for, and whom.
    shutil.rmtree(os.environ["UV_CACHE_DIR"], ignore_errors=True)
    known = {name: each for name, each in os.environ.items() if not _is_an_address(name)}
    os.set_inheritable(3, True)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:], "describe"], known)


def _install(uv: str, wanted: dict[str, object]) -> None:
    _run(uv, "venv", "--quiet", "--relocatable", "--python", str(wanted["python"]), "env")
    options = [*_strings(wanted["options"]), *(["--no-build"] if wanted["no_build"] else [])]
    python = ["--python", os.path.abspath(_PYTHON)]
    files = [each for name in _strings(wanted["requirements"]) for each in ("-r", name)]
    resolved = ""
    if files:
        # Relative paths in a requirements file are meant from the repository's root or its folder.
        compile_ = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", *options]
        resolved = _run(*compile_, *python, *files[1::2], folder="requirements")
    if not re.search(r"^hera(-workflows)?\s*(\[.*\])?\s*(==|@)", resolved, re.MULTILINE):
        files.append(str(wanted["hera"]))
    _run(uv, "pip", "install", "--quiet", *options, *python, *files, folder="requirements")


def _describe(uv: str) -> None:
    """Write bytecode, and say what is there."""
    _run(_PYTHON, "-m", "compileall", "-q", "-j", "0", os.path.join("env", "lib"), check=False)
    pins = _run(uv, "pip", "freeze", "--python", _PYTHON).split("\n")
    version = _run(_PYTHON, "-c", _VERSION).strip()
    with os.fdopen(3, "w", encoding="utf-8") as file:
        json.dump({"pins": [each for each in pins if each], "python": version}, file)


def _is_an_address(name: str) -> bool:
    return any(part in name.upper() for part in ("INDEX", "LINKS", "PROXY"))


def _strings(values: object) -> list[str]:
    assert isinstance(values, list)
    return [str(each) for each in values]


def _run(*command: str, folder: str = ".", check: bool = True) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=folder)
    if done.returncode and check:
        sys.exit(1)
    return done.stdout


if __name__ == "__main__":
    main()
