"""`heraci action`: what the image runs as GitHub's Action, around the same commands as anywhere.

It finds out what to do from the event, refuses to run strangers' code where secrets are in its
reach, and hands back to the runner's user what root wrote for it.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path

from heraci.errors import SettingsError
from heraci.github import Event

COMMAND = "HERACI_COMMAND"
PREFIX = "HERACI_"
INPUT = "INPUT_"
COMMANDS = frozenset({"assert", "compile", "doctor", "list", "review", "status", "submit"})
# Those that run the authors' Python, unless a bundle is given.
COMPILING = frozenset({"assert", "compile", "list", "review", "submit"})
REVIEWED = frozenset({"pull_request", "merge_group"})
# Inputs of a dispatch that tell which submission to repeat.
REPEATED = frozenset({"attempt", "commit", "experiments"})
SOCKET = Path("/var/run/docker.sock")
_SECRETS = ("ARGO_TOKEN", "GITHUB_TOKEN", "KUBECONFIG", "INDEX_URL")
_MANUAL = (
    "docs/github-action.md shows the form with two jobs, where the one that compiles has no secret"
)


def run(environ: MutableMapping[str, str], main: Callable[[Sequence[str]], int]) -> int:
    """Do what the event or the input `command` asks for; `main` is the command line."""
    event = Event.of(environ)
    if event is None:
        raise SettingsError(
            "`heraci action` is for GitHub Actions; here, run the commands themselves"
        )
    refuse_contradictions(environ)
    words = command(environ.pop(COMMAND, ""), event)
    if words is None:
        print(f"heraci: nothing to do for {event.name} {event.ref}")
        return 0
    if words[0] in COMPILING and not environ.get(f"{PREFIX}BUNDLE") and "--bundle" not in words:
        refuse_exposure(environ, event)
    open_cache(environ)
    before = owned(environ)
    try:
        return main(words)
    finally:
        hand_over(environ, before)


# --- what to do ----------------------------------------------------------------------------------


def command(asked: str, event: Event) -> list[str] | None:
    """Give the words of the command line; None where the event asks for nothing."""
    if event.name == "pull_request_target":
        raise SettingsError(
            "pull_request_target runs strangers' code beside secrets: use `on: pull_request`"
        )
    if asked.strip():
        return _asked(asked)
    if event.name in REVIEWED:
        # What a closed pull request merged arrives as a push.
        return None if event.action == "closed" else ["review"]
    if event.name == "push":
        if event.deleted:
            return None
        return ["submit"] if event.on_default_branch else ["compile"]
    if event.name == "workflow_dispatch" and REPEATED & set(event.inputs):
        return repeated(event)
    raise SettingsError(
        f"the event {event.name} does not say what to do: give the input `command`, "
        "for example `command: submit --all`"
    )


def repeated(event: Event) -> list[str]:
    """Give the words that submit a commit once more, as the inputs of a dispatch say."""
    told = {name: value.strip() for name, value in event.inputs.items()}
    words = ["submit", f"--commit={told.get('commit') or event.sha}"]
    if attempt := told.get("attempt"):
        words.append(f"--attempt={attempt}")
    return [*words, "--", *told.get("experiments", "").replace(",", " ").split()]


def _asked(asked: str) -> list[str]:
    try:
        words = shlex.split(asked)
    except ValueError as error:
        raise SettingsError(f"the input `command` cannot be read: {error}") from error
    if words[0] not in COMMANDS:
        raise SettingsError(
            f"the input `command` must begin with one of {', '.join(sorted(COMMANDS))}, "
            f"not {words[0]!r}"
        )
    return words


def refuse_contradictions(environ: Mapping[str, str]) -> None:
    """Refuse a variable of the job that an input contradicts: the runner lets the variable win."""
    wrong = [
        (name, value)
        for name in environ
        if name.startswith(PREFIX)
        and (value := environ.get(INPUT + name.removeprefix(PREFIX).replace("_", "-"), "").strip())
        and environ[name].strip() != value
    ]
    if wrong:
        names = ", ".join(name for name, _ in wrong)
        raise SettingsError(
            f"{names} in the job's `env` says something else than the input of that name: "
            "keep one of the two"
        )


# --- the wall, where it is only a user ------------------------------------------------------------


def refuse_exposure(environ: Mapping[str, str], event: Event) -> None:
    """Stop before strangers' code runs where something lies that it must not read."""
    held = [name.lower().replace("_", "-") for name in _SECRETS if _given(environ, name)]
    if held and event.from_fork:
        raise SettingsError(
            "this pull request comes from a fork, and its code does not run in a job that holds "
            f"{', '.join(held)}: {_MANUAL}"
        )
    if held and os.geteuid() != 0:
        raise SettingsError(
            f"heraci is not root here, so experiments could read {', '.join(held)}: run the image "
            f"as the runner does, without `--user`; or else {_MANUAL}"
        )
    for path, advice in exposed(environ):
        raise SettingsError(f"experiments could read the credential in {path}: {advice}")


def _given(environ: Mapping[str, str], name: str) -> bool:
    return any(environ.get(each, "").strip() for each in (PREFIX + name, name))


def exposed(environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Find credentials that others left in files any user may read, with what to do."""
    checkout = "give actions/checkout `persist-credentials: false`"
    runner = Path(environ.get("RUNNER_TEMP") or "/github/runner_temp")
    workspace = Path(environ.get("GITHUB_WORKSPACE") or ".")
    for path in sorted(runner.glob("git-credentials-*.config")):
        if _is_open(path):
            yield path, checkout
    config = workspace / ".git" / "config"
    if _is_open(config) and b"extraheader" in config.read_bytes().lower():
        yield config, checkout
    for path in sorted(workspace.glob("gha-creds-*.json")):
        if _is_open(path):
            yield path, "log in to the cloud in the job that submits, after this one"
    if _is_open(SOCKET):
        yield SOCKET, "it rules the whole runner; make it `chmod 660` on the runner"


def _is_open(path: Path) -> bool:
    """Tell whether any user may read a file, or speak to a socket."""
    try:
        about = path.lstat()
    except OSError:
        return False
    needed = stat.S_IWOTH if stat.S_ISSOCK(about.st_mode) else stat.S_IROTH
    return bool(about.st_mode & needed)


# --- files that belong to others ------------------------------------------------------------------


def open_cache(environ: Mapping[str, str]) -> None:
    """Make the cache's folder one that the users of experiments may pass through, not list.

    A container has no right to show them a folder that is closed.
    """
    if os.geteuid() != 0:
        return
    from platformdirs import user_cache_path

    chosen = environ.get(f"{PREFIX}CACHE_DIR", "").strip()
    folder = Path(chosen) if chosen else user_cache_path("heraci", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        folder.chmod(folder.stat().st_mode | 0o111)
    except OSError as error:
        print(f"heraci: {folder} cannot be prepared ({error.strerror})", file=sys.stderr)


def owned(environ: Mapping[str, str]) -> frozenset[Path]:
    """List what lies at the top of the workspace, to know later what is ours."""
    workspace = Path(environ.get("GITHUB_WORKSPACE") or "/nowhere")
    return frozenset(workspace.iterdir()) if workspace.is_dir() else frozenset()


def hand_over(environ: Mapping[str, str], before: frozenset[Path]) -> None:
    """Give what root wrote into the workspace to the workspace's owner, whose later steps need it.

    Links are never followed: a stranger may have laid them.
    """
    workspace = Path(environ.get("GITHUB_WORKSPACE") or "/nowhere")
    if os.geteuid() != 0 or not workspace.is_dir():
        return
    owner = workspace.stat()
    known = {environ.get(f"{PREFIX}{name}", "").strip("/") for name in ("OUTPUT", "BUNDLE")}
    ours = {workspace / each for each in known | {"compiled"} if each and ".." not in each}
    for top in {*workspace.iterdir()} - before | ours:
        for path in _below(top):
            if path.lstat().st_uid == 0:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _below(top: Path) -> Iterator[Path]:
    if any(each.is_symlink() for each in (top, *top.parents)) or not top.exists():
        return
    yield top
    for folder, folders, files in os.walk(top):
        yield from (Path(folder, each) for each in (*folders, *files))
