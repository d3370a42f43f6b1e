"""Install an experiment's packages with uv; runs behind the wall, for building runs their code.

Plain standard library, started as a program: `compile_install.py UV` in a task's folder that holds
`requirements/` and `install.json`; leaves the environment in `env` and writes what it holds, as
JSON, to descriptor 4.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Make the environment; exit code 1 with uv's own words on standard error where that fails."""
    uv = sys.argv[1]
    wanted = json.loads(Path("install.json").read_text())
    python = Path("env/bin/python")
    _run(uv, "venv", "--quiet", "--relocatable", "--python", wanted["python"], "env")
    install = [uv, "pip", "install", "--quiet", "--compile-bytecode", *wanted["options"]]
    if wanted["no_build"]:
        install.append("--no-build")
    files = [each for name in wanted["requirements"] for each in ("-r", name)]
    if files:
        # Relative paths in a requirements file are meant from the repository's root or its folder.
        _run(*install, "--python", str(python.absolute()), *files, folder="requirements")
    if not _is_there(uv, python, "hera"):
        _run(*install, "--python", str(python), wanted["hera"])
    pins = [
        each for each in _run(uv, "pip", "freeze", "--python", str(python)).splitlines() if each
    ]
    version = _run(str(python), "-c", "import platform; print(platform.python_version())").strip()
    with os.fdopen(4, "w") as file:
        json.dump({"pins": pins, "python": version}, file)


def _is_there(uv: str, python: Path, package: str) -> bool:
    command = [uv, "pip", "show", "--quiet", "--python", str(python), package]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(*command: str, folder: str = ".") -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=folder)
    if done.returncode:
        sys.exit(1)
    return done.stdout


if __name__ == "__main__":
    main()
