"""What each command does with its flags: settings, the flow, and what is printed of it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heraci import bundling, report
from heraci.bundle import Bundle, Finding, errors_of, plain
from heraci.bundling import Progress
from heraci.settings import Settings
from heraci.workspace import Selection, Workspace

if TYPE_CHECKING:
    from heraci.cluster.inventory import Inventory

NOT_SETTINGS = frozenset(
    {
        *("run", "all", "experiments", "name", "shell"),
        *("open", "html", "markdown", "yaml", "asserting", "experiment", "preflight"),
    }
)


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give the flags that are settings."""
    return {name: each for name, each in vars(arguments).items() if name not in NOT_SETTINGS}


def _open(arguments: argparse.Namespace) -> tuple[Settings, Workspace]:
    workspace = Workspace(Path.cwd(), os.environ, _flags(arguments)).open()
    return workspace.settings(), workspace


def _selection(arguments: argparse.Namespace) -> Selection:
    return Selection(names=tuple(arguments.experiments), every=arguments.all)


def run_compile(arguments: argparse.Namespace) -> int:
    """Compile, write the bundle or the YAML, and show what became of each experiment."""
    from heraci import bundle_folder

    settings, workspace = _open(arguments)
    with workspace, _Progress(settings) as progress:
        result = bundling.compile_experiments(settings, _selection(arguments), workspace, progress)
    result = _publishable(result, settings)
    if str(settings.output) == "-":
        _print_yaml("---\n".join(each.text for each in result.experiments if each.text))
        _show(result, settings, None, sys.stderr)
        return _finish(result, result.findings)
    if _in_actions():
        from heraci import publishing

        publishing.own_folder(Path(settings.output))
    bundle_folder.write(result, Path(settings.output))
    _show(result, settings, str(settings.output), sys.stdout)
    return _finish(result, result.findings, folder=str(settings.output))


def _print_yaml(text: str) -> None:
    """Print YAML as it is; in a CI log, in which a script's line could be a command, wrapped."""
    if _in_actions() and text:
        from heraci import github

        text = github.stopped_yaml(text)
    sys.stdout.write(text)
    sys.stdout.flush()  # what follows goes to the other stream


def run_list(arguments: argparse.Namespace) -> int:
    """List experiments with the reason for each."""
    settings, workspace = _open(arguments)
    with workspace, _Progress(settings) as progress:
        result = bundling.list_experiments(settings, _selection(arguments), workspace, progress)
    result = _publishable(result, settings)
    _show(result, settings, None, sys.stdout)
    return _finish(result, result.findings)


def _in_actions() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _publishable(made: Bundle, settings: Settings) -> Bundle:
    """Withhold in CI, where all is read by others, what a secret stands in."""
    if not _in_actions():
        return made
    from heraci import publishing

    return publishing.publishable(made, settings)


def _finish(made: Bundle, findings: Sequence[Finding], *, folder: str = "") -> int:
    """Give the exit code, and in GitHub Actions all that later steps may ask for."""
    code = int(bool(errors_of(findings)))
    if _in_actions():
        from heraci import publishing
        from heraci.github import Runner

        told = publishing.outputs(made, findings, folder=folder, exit_code=code)
        Runner.of(os.environ).set_outputs(told)
    return code


def _bundle(arguments: argparse.Namespace, settings: Settings, workspace: Workspace) -> Bundle:

    with _Progress(settings) as progress:
        return bundling.obtain_bundle(settings, _selection(arguments), workspace, progress)


def _inventory(settings: Settings) -> Inventory:
    from heraci import servers
    from heraci.cluster.inventory import Inventory

    return Inventory(servers.cluster_of(settings), concurrency=settings.max_concurrency)


def run_assert(arguments: argparse.Namespace) -> int:
    """Ask the target cluster for what the experiments need."""
    from heraci import pipeline, servers

    settings, workspace = _open(arguments)
    with workspace:
        made = _publishable(_bundle(arguments, settings, workspace), settings)
    namespace = servers.namespace_of(settings)
    found = pipeline.assert_bundle(made, settings, namespace, _inventory(settings))
    findings = (*made.error_findings(), *found.findings)
    if settings.explain:
        for line in found.explanation():
            print(report.safe(line))
        print()
    # People read once what many experiments have in common; programs get it for each.
    told = (*made.error_findings(), *found.grouped)
    _show_findings(findings if settings.format == "json" else told, settings)
    return _finish(made, findings, folder=str(settings.bundle or ""))


def run_review(arguments: argparse.Namespace) -> int:
    """Show what merging would run; in GitHub Actions, publish it."""
    from heraci import pipeline, review
    from heraci.github import Event, Runner

    settings, workspace = _open(arguments)
    event = Event.of(os.environ)
    with workspace:
        made = _bundle(arguments, settings, workspace)
        asks = arguments.asserting or (event is not None and settings.kubeconfig is not None)
        inventory = _inventory(settings) if asks else None
        written = pipeline.review_bundle(made, settings, inventory, insisted=arguments.asserting)
    if arguments.markdown:
        Path(arguments.markdown).write_text(review.markdown(written), encoding="utf-8")
    if arguments.html:
        Path(arguments.html).write_text(review.page(written), encoding="utf-8")
    if event is not None:
        from heraci import publishing

        return publishing.finish_review(written, settings, event, Runner.of(os.environ))
    if arguments.open:
        _open_page(review.page(written))
    elif not arguments.markdown and not arguments.html:
        colour = _colours(sys.stdout)
        width = _columns(sys.stdout)
        print(review.terminal(written, colour=colour, width=width, yaml=arguments.yaml), end="")
    return int(bool(errors_of(written.findings)))


def _open_page(text: str) -> None:
    import tempfile
    import webbrowser

    # Not removed: the browser reads it after we have ended.
    with tempfile.NamedTemporaryFile("w", suffix=".html", delete=False, encoding="utf-8") as file:
        file.write(text)
    if not webbrowser.open(Path(file.name).as_uri()):
        print(f"no browser could be opened; the page is {file.name}")


def run_submit(arguments: argparse.Namespace) -> int:
    """Submit each object once, and follow it where that is wanted."""
    from heraci import pipeline, servers, submission_report
    from heraci.github import Event, Runner

    settings, workspace = _open(arguments)
    road = servers.road_of(settings)
    checks = _inventory(settings) if arguments.preflight else None
    told = submission_report.Told(
        settings.format, _colours(sys.stdout), road.link, dry_run=settings.dry_run
    )
    listener = pipeline.Listener(told)
    if (event := Event.of(os.environ)) is not None:
        from heraci.announcing import Announced

        listener = Announced(told, settings, event, Runner.of(os.environ), road.link)
    with workspace, _Progress(settings) as progress:
        result = pipeline.submit_experiments(
            settings, _selection(arguments), workspace, road, checks, listener, progress
        )
    return result.exit_code


def run_status(arguments: argparse.Namespace) -> int:
    """Tell how runs fare."""
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
    if settings.format == "json":
        print(report.data_text([plain(each) for each in findings]))
        return
    for each in findings:
        print("\n".join(report.finding(each, colour=_colours(sys.stdout))))
    print(report.counted(findings) or "Everything that the experiments need is there.")
    if settings.format == "github":
        print("\n".join(report.commands(findings)))


def run_init(arguments: argparse.Namespace) -> int:
    """Write a first experiment."""
    from heraci import init

    settings, workspace = _open(arguments)
    with workspace:
        for path in init.write(settings, workspace, arguments.name):
            print(f"wrote {os.path.relpath(path)}")
    print(f"\nNow run: heraci compile {arguments.name}")
    return 0


def run_doctor(arguments: argparse.Namespace) -> int:
    """Show settings and what was looked at."""
    from heraci import doctor

    settings, workspace = _open(arguments)
    with workspace:
        checks = doctor.examine(settings, workspace)
    if settings.format == "json":
        rows = [dict(zip(("name", "value", "origin"), row, strict=True)) for row in settings.rows()]
        told = [{"name": each.name, "fine": each.fine, "told": each.told} for each in checks]
        print(report.data_text({"settings": rows, "checks": told}))
    else:
        _table(("setting", "value", "from"), settings.rows())
        print()
        _table(("", "", ""), [("ok" if e.fine else "NOT OK", e.name, e.told) for e in checks])
    failed = {each.name for each in checks if not each.fine}
    return 0 if not failed else 3 if failed <= {"cluster", "argo-server"} else 2


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    shown = [[report.safe(each) for each in row] for row in (head, *rows) if any(row)]
    widths = [min(60, max(len(row[column]) for row in shown)) for column in (0, 1)]
    for row in shown:
        first, second = (row[column].ljust(widths[column]) for column in (0, 1))
        print(f"{first}  {second}  {row[2]}".rstrip())


def _show(result: Bundle, settings: Settings, output: str | None, stream: Any) -> None:
    if settings.format == "json":
        print(report.as_json(result), file=stream)
        return
    print(report.text(result, output, colour=_colours(stream)), file=stream)
    if settings.format == "github":
        print("\n".join(report.commands(result.findings)), file=stream)


class _Progress:
    """One line on a terminal that tells how far it is, gone at the end; nothing anywhere else."""

    def __init__(self, settings: Settings) -> None:
        self._shown = sys.stderr.isatty() and settings.format == "text"
        self._is_there = False

    def __enter__(self) -> Progress:
        return self._tell

    def _tell(self, done: int, total: int, name: str) -> None:
        if self._shown:
            self._write(report.safe(f"compiling {done}/{total} {name}")[: _columns(sys.stderr) - 1])
            if done == total:
                self._write("")

    def __exit__(self, *_: object) -> None:
        if self._is_there:
            self._write("")

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
        self._is_there = bool(text)


def _colours(stream: Any) -> bool:
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ


def _columns(stream: Any) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 100
    except OSError:
        return 100
