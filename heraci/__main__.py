"""The command line: parse, read the settings, run the flow, and end in the right exit code."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from pathlib import Path

if False:  # not even the typing module is loaded for `heraci --help`
    from collections.abc import Mapping, Sequence
    from typing import Any

_DESCRIPTION = "GitOps for numerical experiments written in Python with Hera."
_EPILOG = """\
Start with:
  heraci init                 write a first experiment that compiles at once
  heraci compile --all        compile all experiments into compiled/
  heraci compile              compile what changed since the default branch was left
  heraci list                 say which experiments a change affects, and why
  heraci review               show what merging would run
  heraci doctor               show every setting with its origin, and what does not work here

Exit codes: 0 fine, 1 the experiments are not right, 2 settings or usage,
3 Git, cluster, Argo or GitHub failed, 4 a bug in heraci, 130 and 143 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give the process's exit code."""
    # Until something is compiled all that is made is kept: collecting would find nothing.
    gc.disable()
    signal.signal(signal.SIGTERM, _terminate)
    arguments = parser().parse_args(argv)
    try:
        if arguments.run == "action":
            from heraci import action

            return action.run(os.environ, main)
        if arguments.run == "completion":
            import shtab

            print(shtab.complete(parser(), shell=arguments.shell))
            return 0
        # Loaded now, and not for `--help`.
        from heraci import commands

        return int(getattr(commands, f"run_{arguments.run}")(arguments))
    except KeyboardInterrupt:
        print("heraci: interrupted", file=sys.stderr)
        return 130
    except _Terminated:
        print("heraci: ended from outside", file=sys.stderr)
        return 143
    except BrokenPipeError:  # `heraci list | head`
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - nothing is left to close it
        return 0
    except Exception as error:  # noqa: BLE001 - the one place where a bug becomes an exit code
        from heraci.errors import HeraciError

        if isinstance(error, HeraciError):
            print(f"heraci: {_printable(str(error))}", file=sys.stderr)
            return error.exit_code
        return _bug(error)


class _Terminated(BaseException):
    """SIGTERM arrived: end in order, so that no worker outlives us."""


def _terminate(*_: object) -> None:
    raise _Terminated


def _printable(text: str) -> str:
    from heraci import report

    return "\n".join(report.safe(line) for line in text.splitlines())


def _bug(error: Exception) -> int:
    import traceback

    # Without the values: a frame may hold a secret.
    places = "".join(traceback.format_tb(error.__traceback__))
    print(_printable(f"{places}{type(error).__name__}: {error}"), file=sys.stderr)
    print("heraci: this is a bug in heraci. Please report the lines above.", file=sys.stderr)
    return 4


# --- the parser ----------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """Make the parser; each flag's `dest` is a field of Settings, or is read by its command."""
    from heraci import __version__

    top = argparse.ArgumentParser(
        prog="heraci",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"heraci {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_init(commands)
    _add_list(commands)
    _add_compile(commands)
    _add_assert(commands)
    _add_review(commands)
    _add_submit(commands)
    _add_status(commands)
    _add_doctor(commands)
    _add_action(commands)
    _add_completion(commands)
    return top


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    help_: str,
    examples: str,
    run: str,
) -> argparse.ArgumentParser:
    made = commands.add_parser(
        name,
        help=help_,
        description=help_[0].upper() + help_[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(run=run)
    return made


def _add_init(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = _command(
        commands,
        "init",
        "write a first experiment that compiles at once",
        "  heraci init\n  heraci init heat-equation",
        "init",
    )
    made.add_argument("name", nargs="?", default="hello", help="its name (default: hello)")
    _add_common(made)


def _add_list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = _command(
        commands,
        "list",
        "say which experiments a change affects, and why",
        "  heraci list                       since the default branch was left\n"
        "  heraci list --base origin/main --head HEAD\n"
        "  heraci list --no-compare          without compiling base and head\n"
        "  heraci list --all --format json",
        "list",
    )
    _add_selection(made)
    _add_compiling(made)
    _add_common(made)


def _add_compile(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = _command(
        commands,
        "compile",
        "turn experiments into Argo YAML and a bundle that the other commands read",
        "  heraci compile                    what changed since the default branch was left\n"
        "  heraci compile --all              all experiments, into compiled/\n"
        "  heraci compile collect --output -  one experiment, to standard output\n"
        "  heraci compile collect --set vintages=2009,2012\n"
        "  heraci compile --base HEAD~1      compared with the last commit but one",
        "compile",
    )
    _add_selection(made)
    made.add_argument(
        "--output", metavar="DIR", help="where to write (default: compiled); - is standard output"
    )
    made.add_argument(
        "--check-determinism", **_SWITCH, help="compile each twice and report what differs"
    )
    _add_compiling(made)
    _add_common(made)


def _add_assert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = _command(
        commands,
        "assert",
        "say whether the target cluster has what the experiments need; nothing is created",
        "  heraci assert                     what the change affects\n"
        "  heraci assert --all --target lab\n"
        "  heraci assert --bundle compiled   what was compiled before\n"
        "  heraci assert collect --explain   with everything that was looked at",
        "assert",
    )
    _add_selection(made)
    _add_bundle(made)
    made.add_argument("--explain", **_SWITCH, help="print everything that was looked at")
    made.add_argument(
        "--check-secret-keys", **_SWITCH, help="read Secrets to assert their keys (default: no)"
    )
    made.add_argument(
        "--check-images", **_SWITCH, help="ask registries for the images (default: yes)"
    )
    _add_access(made)
    _add_compiling(made)
    _add_common(made)


def _add_review(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = _command(
        commands,
        "review",
        "show what merging would run, compared with what runs today",
        "  heraci review                     what the change does, on the terminal\n"
        "  heraci review --open              the same as a page in the browser\n"
        "  heraci review --markdown FILE --html FILE --bundle compiled",
        "review",
    )
    _add_selection(made)
    _add_bundle(made)
    made.add_argument("--open", action="store_true", help="open the review in a browser")
    made.add_argument("--html", metavar="FILE", help="write the review as one HTML page")
    made.add_argument("--markdown", metavar="FILE", help="write the review as Markdown")
    made.add_argument("--yaml", action="store_true", help="print the YAML's differences too")
    made.add_argument(
        "--assert", dest="asserting", action="store_true", help="ask the target cluster as well"
    )
    _add_access(made)
    _add_compiling(made)
    _add_common(made)


def _add_submit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = _command(
        commands,
        "submit",
        "start experiments on the target cluster, each once, tagged with the commit",
        "  heraci submit --dry-run           what would happen\n"
        "  heraci submit --wait              submit, and follow to the end\n"
        "  heraci submit collect --attempt 2  run it once more for the same commit\n"
        "  heraci submit --since-last        what CI has lost since the last submission\n"
        "  heraci submit --commit v1.2       what an earlier commit would have submitted",
        "submit",
    )
    _add_selection(made)
    _add_bundle(made)
    made.add_argument("--commit", metavar="REF", help="submit this commit (default: what is here)")
    made.add_argument("--attempt", metavar="N", help="2 or more runs the same commit once more")
    made.add_argument("--since-last", **_FLAG, help="all since the last whole submission")
    made.add_argument("--submit-unchanged", **_SWITCH, help="also those whose manifests are equal")
    made.add_argument("--prune", **_SWITCH, help="suspend crons, delete templates that are gone")
    made.add_argument("--dry-run", **_SWITCH, help="ask the server, create nothing")
    made.add_argument("--wait", **_SWITCH, help="follow all runs until they end")
    made.add_argument("--wait-timeout", metavar="SECONDS", help="wait no longer than this")
    made.add_argument("--max-concurrency", metavar="N", help="requests at the same time")
    made.add_argument(
        "--preflight",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="assert the cluster before anything is created (default: yes)",
    )
    _add_access(made)
    _add_compiling(made)
    _add_common(made)


def _add_status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = _command(
        commands,
        "status",
        "say how the runs of a commit or of an experiment fare",
        "  heraci status                     runs of the commit that is checked out\n"
        "  heraci status 1a2b3c4             runs of that commit\n"
        "  heraci status --experiment collect",
        "status",
    )
    made.add_argument("commit", nargs="?", metavar="COMMIT", help="default: what is checked out")
    made.add_argument("--experiment", metavar="NAME", help="runs of this experiment, of any commit")
    _add_access(made)
    _add_common(made)


def _add_bundle(made: argparse.ArgumentParser) -> None:
    made.add_argument("--bundle", metavar="DIR", help="use what `heraci compile` wrote there")


def _add_access(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("the cluster")
    group.add_argument("--namespace", metavar="NAME", help="where workflows run")
    group.add_argument("--kubeconfig", metavar="FILE", help="how to reach the Kubernetes API")
    group.add_argument("--context", metavar="NAME", help="a context of the kubeconfig")
    group.add_argument("--argo-server", metavar="URL", help="the Argo Server's address")
    group.add_argument(
        "--submit-through", choices=["auto", "kubernetes", "argo-server"], help="which API to use"
    )


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = _command(
        commands,
        "doctor",
        "show every setting with its origin, and what does not work here",
        "  heraci doctor\n  heraci doctor --target lab --format json",
        "doctor",
    )
    _add_common(made)


def _add_action(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _command(
        commands,
        "action",
        "do what the event asks for, in GitHub Actions (the image starts this)",
        "  HERACI_COMMAND='compile --all' heraci action",
        "action",
    )


def _add_completion(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = _command(
        commands,
        "completion",
        "print a script that completes commands and flags in your shell",
        '  eval "$(heraci completion bash)"\n  heraci completion zsh > ~/.zfunc/_heraci',
        "completion",
    )
    made.add_argument("shell", choices=["bash", "zsh", "tcsh"])


_SWITCH: Mapping[str, Any] = {"action": argparse.BooleanOptionalAction, "default": None}


def _add_common(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("settings")
    group.add_argument(
        "--target", metavar="NAME", help="the cluster, a [targets.NAME] of heraci.toml"
    )
    group.add_argument(
        "--experiments-dir", metavar="DIR", help="where experiments are (default: experiments)"
    )
    group.add_argument("--format", choices=["text", "json", "github"], help="how to print")
    group.add_argument("--cache-dir", metavar="DIR", help="where heraci caches")


def _add_selection(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "experiments",
        nargs="*",
        metavar="EXPERIMENT",
        help="names or paths; without any, those that the change affects",
    )
    group = made.add_argument_group("which experiments")
    group.add_argument("--all", action="store_true", help="all of them")
    group.add_argument("--base", metavar="REF", help="compare with where this and the head parted")
    group.add_argument(
        "--head", metavar="REF", help="compile this commit (default: the files as they are)"
    )
    group.add_argument(
        "--compare",
        **_SWITCH,
        help="compile base and head, and compare their manifests (default: yes)",
    )


def _add_compiling(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("compiling")
    group.add_argument(
        "--set",
        dest="arguments",
        metavar="NAME=VALUE",
        action="append",
        help="an input, or an argument of its own parser; EXPERIMENT:NAME=VALUE for one of them",
    )
    group.add_argument("--jobs", metavar="N", help="how many to compile at the same time")
    group.add_argument(
        "--compile-timeout", metavar="SECONDS", help="for each experiment (default: 60)"
    )
    group.add_argument(
        "--compile-memory", metavar="SIZE", help="for each experiment (default: 4GiB)"
    )
    group.add_argument(
        "--allow-network", **_SWITCH, help="let experiments use the network (default: no)"
    )
    group.add_argument(
        "--pin-randomness", **_SWITCH, help="draw random names the same each time (default: yes)"
    )
    group.add_argument(
        "--pass-environ", metavar="NAMES", help="variables that experiments may read"
    )
    group.add_argument(
        "--dependencies-from", metavar="FILES", help="requirement files to take for all experiments"
    )
    group.add_argument("--offline", **_SWITCH, help="install packages from the cache alone")
    group.add_argument("--no-cache", **_FLAG, help="compile everything anew")


_FLAG: Mapping[str, Any] = {"action": "store_true", "default": None}


if __name__ == "__main__":
    sys.exit(main())
