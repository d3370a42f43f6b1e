"""The command line: parse, read the settings, run the flow, and end in the right exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

if False:  # not even the typing module is loaded for `heraci --help`
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from heraci.bundle import Bundle, Finding
    from heraci.bundling import Progress
    from heraci.settings import Settings
    from heraci.workspace import Selection, Workspace

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
    signal.signal(signal.SIGTERM, _terminate)
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
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
    _add_completion(commands)
    return top


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    help_: str,
    examples: str,
    run: Callable[[argparse.Namespace], int],
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
        _run_init,
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
        _run_list,
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
        _run_compile,
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
        _run_assert,
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
        _run_review,
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
        _run_submit,
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
        _run_status,
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
        _run_doctor,
    )
    _add_common(made)


def _add_completion(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    made = _command(
        commands,
        "completion",
        "print a script that completes commands and flags in your shell",
        '  eval "$(heraci completion bash)"\n  heraci completion zsh > ~/.zfunc/_heraci',
        _run_completion,
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
_NOT_SETTINGS = frozenset(
    {
        *("run", "all", "experiments", "name", "shell"),
        *("open", "html", "markdown", "yaml", "asserting", "experiment", "preflight"),
    }
)


# --- the commands --------------------------------------------------------------------------------


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give the flags that are settings."""
    return {name: each for name, each in vars(arguments).items() if name not in _NOT_SETTINGS}


def _open(arguments: argparse.Namespace, **more: Any) -> tuple[Settings, Workspace]:
    from heraci.settings import Settings
    from heraci.workspace import Workspace

    directory = Path.cwd()
    flags = _flags(arguments) | more
    workspace = Workspace(directory, os.environ, flags)
    with workspace:
        root = workspace.root
    workspace = Workspace(directory, os.environ, flags)
    return Settings.load(flags, environ=os.environ, directory=root), workspace


def _selection(arguments: argparse.Namespace) -> Selection:
    from heraci.workspace import Selection

    return Selection(names=tuple(arguments.experiments), every=arguments.all)


def _run_compile(arguments: argparse.Namespace) -> int:
    from heraci import bundle_folder, pipeline

    settings, workspace = _open(arguments)
    with workspace, _Progress(settings) as progress:
        result = pipeline.compile_experiments(settings, _selection(arguments), workspace, progress)
    if str(settings.output) == "-":
        sys.stdout.write("---\n".join(each.text for each in result.experiments if each.text))
        _show(result, settings, None, sys.stderr)
    else:
        bundle_folder.write(result, Path(settings.output))
        _show(result, settings, str(settings.output), sys.stdout)
    return _exit_code(result)


def _run_list(arguments: argparse.Namespace) -> int:
    from heraci import pipeline

    settings, workspace = _open(arguments)
    with workspace, _Progress(settings) as progress:
        result = pipeline.list_experiments(settings, _selection(arguments), workspace, progress)
    _show(result, settings, None, sys.stdout)
    return _exit_code(result)


def _bundle(
    arguments: argparse.Namespace, settings: Settings, workspace: Workspace
) -> tuple[Bundle, Settings]:
    from heraci import pipeline

    with _Progress(settings) as progress:
        made = pipeline.obtain_bundle(settings, _selection(arguments), workspace, progress)
    return made, settings


def _run_assert(arguments: argparse.Namespace) -> int:
    from heraci import pipeline, report, servers
    from heraci.cluster.inventory import Inventory

    settings, workspace = _open(arguments)
    with workspace:
        made, _ = _bundle(arguments, settings, workspace)
    inventory = Inventory(servers.cluster_of(settings), concurrency=settings.max_concurrency)
    namespace = servers.namespace_of(settings)
    found = pipeline.assert_bundle(made, settings, namespace, inventory)
    findings = (*made.error_findings(), *found.findings)
    if settings.explain:
        for line in found.explanation():
            print(report.safe(line))
        print()
    _show_findings(findings, settings)
    return 1 if any(each.severity == "error" for each in findings) else 0


def _run_review(arguments: argparse.Namespace) -> int:
    from heraci import pipeline, review, servers
    from heraci.cluster.inventory import Inventory

    settings, workspace = _open(arguments)
    with workspace:
        made, _ = _bundle(arguments, settings, workspace)
    found = None
    if arguments.asserting:
        inventory = Inventory(servers.cluster_of(settings), concurrency=settings.max_concurrency)
        namespace = servers.namespace_of(settings)
        found = pipeline.assert_bundle(made, settings, namespace, inventory)
    written = pipeline.review_bundle(made, settings, found)
    if arguments.markdown:
        Path(arguments.markdown).write_text(review.markdown(written), encoding="utf-8")
    if arguments.html:
        Path(arguments.html).write_text(review.page(written), encoding="utf-8")
    if arguments.open:
        _open_page(review.page(written))
    elif not arguments.markdown and not arguments.html:
        colour = _colours(sys.stdout)
        width = _columns(sys.stdout)
        print(review.terminal(written, colour=colour, width=width, yaml=arguments.yaml), end="")
    return 1 if any(each.severity == "error" for each in written.findings) else 0


def _open_page(text: str) -> None:
    import tempfile
    import webbrowser

    # Not removed: the browser reads it after we have ended.
    with tempfile.NamedTemporaryFile("w", suffix=".html", delete=False, encoding="utf-8") as file:
        file.write(text)
    if not webbrowser.open(Path(file.name).as_uri()):
        print(f"no browser could be opened; the page is {file.name}")


def _run_submit(arguments: argparse.Namespace) -> int:
    from heraci import pipeline, servers, submission_report
    from heraci.cluster.inventory import Inventory

    if arguments.commit and not arguments.head:
        arguments.head = arguments.commit
    settings, workspace = _open(arguments)
    road = servers.road_of(settings)
    with workspace:
        whole = not (arguments.experiments or arguments.all or settings.base or settings.bundle)
        if whole and (last := pipeline.last_submitted(settings, road, workspace)):
            # What a failed or lost run of CI left behind is in this range, too.
            settings, workspace = _open(arguments, base=last)
    with workspace:
        made, settings = _bundle(arguments, settings, workspace)
    checks = None
    if arguments.preflight:
        checks = Inventory(servers.cluster_of(settings), concurrency=settings.max_concurrency)
    told = submission_report.Told(
        settings.format, _colours(sys.stdout), road.link, dry_run=settings.dry_run
    )
    watching = pipeline.Watching(on_fate=told.fate, on_run=told.run)
    result = pipeline.submit_bundle(
        made,
        settings,
        road,
        checks,
        {},
        watching,
        whole=not arguments.experiments,
        is_later=workspace.is_later_than(made.commit),
    )
    told.end(result)
    return told.exit_code(result, waited=settings.wait)


def _run_status(arguments: argparse.Namespace) -> int:
    from heraci import pipeline, servers, submission_report

    settings, workspace = _open(arguments)
    commit = None
    with workspace:
        if arguments.commit or not arguments.experiment:
            commit = workspace.commit(arguments.commit)
    road = servers.road_of(settings)
    runs = pipeline.status(settings, road, commit, arguments.experiment)
    told = submission_report.Told(settings.format, _colours(sys.stdout), road.link)
    told.table(runs)
    return 0


def _show_findings(findings: Sequence[Finding], settings: Settings) -> None:
    from heraci import report

    if settings.format == "json":
        import json

        from heraci.bundle import plain

        print(json.dumps([plain(each) for each in findings], indent=2, ensure_ascii=False))
        return
    for each in findings:
        print("\n".join(report.finding(each, colour=_colours(sys.stdout))))
    print(report.counted(findings) or "Everything that the experiments need is there.")
    if settings.format == "github":
        print("\n".join(report.commands(findings)))


def _run_init(arguments: argparse.Namespace) -> int:
    from heraci import init

    settings, workspace = _open(arguments)
    with workspace:
        for path in init.write(settings, workspace, arguments.name):
            print(f"wrote {os.path.relpath(path)}")
    print(f"\nNow run: heraci compile {arguments.name}")
    return 0


def _run_doctor(arguments: argparse.Namespace) -> int:
    from heraci import doctor

    settings, workspace = _open(arguments)
    with workspace:
        checks = doctor.examine(settings, workspace)
    if settings.format == "json":
        import json

        rows = [dict(zip(("name", "value", "origin"), row, strict=True)) for row in settings.rows()]
        told = [{"name": each.name, "fine": each.fine, "told": each.told} for each in checks]
        print(json.dumps({"settings": rows, "checks": told}, indent=2))
    else:
        _table(("setting", "value", "from"), settings.rows())
        print()
        _table(("", "", ""), [("ok" if e.fine else "NOT OK", e.name, e.told) for e in checks])
    failed = {each.name for each in checks if not each.fine}
    return 0 if not failed else 3 if failed <= {"cluster", "argo-server"} else 2


def _run_completion(arguments: argparse.Namespace) -> int:
    import shtab  # only here: it is for shells, not for every start

    print(shtab.complete(parser(), shell=arguments.shell))
    return 0


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from heraci import report

    shown = [[report.safe(each) for each in row] for row in (head, *rows) if any(row)]
    widths = [min(60, max(len(row[column]) for row in shown)) for column in (0, 1)]
    for row in shown:
        first, second = (row[column].ljust(widths[column]) for column in (0, 1))
        print(f"{first}  {second}  {row[2]}".rstrip())


def _show(result: Bundle, settings: Settings, output: str | None, stream: Any) -> None:
    from heraci import report

    if settings.format == "json":
        print(report.as_json(result), file=stream)
        return
    print(report.text(result, output, colour=_colours(stream)), file=stream)
    if settings.format == "github":
        print("\n".join(report.commands(result.findings)), file=stream)


def _exit_code(result: Bundle) -> int:
    return 1 if result.error_findings() else 0


class _Progress:
    """One line on a terminal that tells how far it is; nothing anywhere else."""

    def __init__(self, settings: Settings) -> None:
        self._shown = sys.stderr.isatty() and settings.format == "text"

    def __enter__(self) -> Progress:
        return self._tell

    def _tell(self, done: int, total: int, name: str) -> None:
        from heraci import report

        if self._shown:
            text = report.safe(f"compiling {done}/{total} {name}")[: _columns(sys.stderr) - 1]
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")


def _colours(stream: Any) -> bool:
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ


def _columns(stream: Any) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 100
    except OSError:
        return 100


if __name__ == "__main__":
    sys.exit(main())
