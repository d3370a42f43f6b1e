"""One experiment's compilation: what is watched, the run itself, and what came of it."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import faulthandler
import functools
import importlib
import importlib.machinery
import importlib.metadata
import inspect
import json
import os
import re
import signal
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from heraci.compile_worker import randomness
from heraci.compile_worker.after_import import AfterImport
from heraci.compile_worker.arguments import Arguments
from heraci.compile_worker.children import Children
from heraci.compile_worker.clock import Clock
from heraci.compile_worker.documents import Documents
from heraci.compile_worker.hera_objects import Fields, Objects, Templates
from heraci.compile_worker.hera_service import Service
from heraci.compile_worker.kubernetes_answers import Cluster
from heraci.compile_worker.outside import (
    NETWORK_RULE,
    OF_THE_NETWORK,
    Credentials,
    Files,
    Network,
    sort_listings,
    watch_events,
)
from heraci.compile_worker.person import Person
from heraci.compile_worker.process import RESULT
from heraci.compile_worker.programs import Programs
from heraci.compile_worker.record import ARGO_KINDS, Place, Record
from heraci.compile_worker.rest import Rest


class Run:
    """One experiment's compilation.

    `install` may be called long before the job is known, in the process that workers are forked
    from; `result` runs the job and gives what it built.

    `job` holds: `root` (the staged copy of the repository), `path` (the entry, relative to it),
    `name`, `folder` (the working folder in it), `function` (call this instead of running the file
    as `__main__`), `module` (the entry's dotted name where its folder is a package), `search` and
    `search_last` (folders of the repository that imports may need, before and behind installed
    packages), `arguments` (for an author's own parser; `argv` is the whole command line),
    `inputs`, `environment` and `own_environment` (resolved values), `others` (entry files of other
    experiments), `pin_randomness`, `allow_network`.

    The result holds: `documents` (each with `document`, `sources`, `order`), `requirements`,
    `findings`, `touched` (paths of the repository that were opened, listed or looked for), `hera`
    and `python` (versions), `error` (a finding, where the experiment failed).
    """

    def __init__(self) -> None:
        self.job: dict[str, Any] = {}
        self.children = Children()
        self.record = Record(self.children)
        self.after_import = AfterImport()
        self.arguments = Arguments()
        self.files = Files(self.record, self.children)
        self.network = Network(self.record)
        self.programs = Programs(self.record, self.files, self.children)
        self.person = Person(self.record)
        self.objects = Objects(self.record)
        self.service = Service(self.record, self.objects.workflows)
        self.clock = Clock()
        self.cluster = Cluster(self.record, self.service.note)
        self.rest = Rest(self.record, self.service.note, self.service.submit)
        self.collected = Documents(self.record, self.objects, self.service, self.clock)
        self.main: types.ModuleType | None = None
        self.hera: str | None = None
        self.authors: Any = None

    def install(self) -> None:
        """Watch what can be watched before the job is known."""
        self.arguments.install(self.after_import)
        self._watch()
        with contextlib.suppress(ImportError):  # the script itself will say so, if it uses Hera
            self._watch_hera(importlib.import_module("hera.workflows"))
        try:
            self.authors = importlib.import_module("heraci.experiment")
        except Exception:  # no pydantic 2, an old Python: authors write plain Hera there
            self.authors = None

    def _watch(self) -> None:
        """Stand between a script and the world."""
        sys.meta_path.insert(0, self.after_import)
        for each in (self.cluster, self.clock, self.person, self.programs, self.children):
            each.install(self.after_import)
        for other in (self.network, self.rest):
            other.install(self.after_import)
        sort_listings()
        warnings.filterwarnings("always", "Pydantic serializer warnings")

    def _watch_hera(self, hera: types.ModuleType) -> None:
        self.service.install()
        self.objects.install(hera)
        Fields(self.record).install()
        Templates(self.record, self.objects).install()
        self.hera = _hera_version()

    def follow(self, job: dict[str, Any]) -> None:
        """Watch a Python that the experiment has started, and tell its worker what it does."""
        self.children.file = job["file"]
        self.record.locate(job["root"], job["path"])
        self._watch()
        self.after_import.watch("hera.workflows", self._watch_hera)
        self._begin({**job, "name": "\0".join([job["name"], *getattr(sys, "argv", ())])})

    def warm_up(self) -> None:
        """Compile workflows of the common kinds, in the process that workers are forked from."""
        from heraci.compile_worker import lighter_hera, warm_up

        lighter_hera.lighten()
        self.record.locate(os.path.dirname(warm_up.__file__), os.path.basename(warm_up.__file__))
        self.job = {"module": None}
        warm_up.build_common_workflows()
        self.collected.collect(set(), [])
        json.dumps(self._finished())
        self.collected.forget()
        config: Any = importlib.import_module("hera.shared").global_config
        config.reset()
        self.service.watch_config(config)
        self.service.forget()
        self.objects.forget()
        self.record.findings.clear()

    def result(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run a job; never raises, whatever the experiment does."""
        self.job = job
        self.record.locate(job["root"], job["path"])
        error = None
        documents: list[dict[str, Any]] = []
        try:
            error = self._run()
            documents = self._finished()
        except BaseException as raised:
            error = self._failure(raised)
        if error and self.service.calls and documents:
            # All that was sent is known in full; what the script meant to do next is not.
            error["severity"] = "warning"
            error["message"] += "\nIt was submitted before this happened and is kept as it was."
            self.record.findings.append(error)
            error = None
        if self.collected.failure and error is None:
            error = self._failure(*self.collected.failure)
        if error:  # which says so itself
            findings = self.record.findings
            findings[:] = [each for each in findings if each["rule"] != NETWORK_RULE]
        return {
            "documents": documents,
            "requirements": self.record.requirements,
            "findings": self.record.findings,
            "error": error,
            "touched": sorted(self.files.touched),
            "hera": self.hera,
            "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        }

    def _run(self) -> dict[str, Any] | None:
        """Run the script and collect what it built; give what went wrong, if anything did."""
        returned = None
        ended: BaseException | None = None
        try:
            self._prepare()
            returned = self._execute()
        except BaseException as raised:
            ended = raised
        if not isinstance(ended, Exception):  # else its threads may wait for what will not come
            _finish()
        for each in (self.service, self.record, self.files, self.programs):
            each.told()
        if ended is not None and not self._ended_well(ended):
            self.collected.collect_calls()
            return self._failure(ended)
        self._add_experiments()
        self.collected.collect(self._reachable(returned), self.job["others"])
        return None

    def _finished(self) -> list[dict[str, Any]]:
        name = self.job["module"] or _stem(self.record.entry)
        return self.collected.finished(name)

    # --- before the run -------------------------------------------------------------------------

    def _prepare(self) -> None:
        job, entry, root = self.job, self.record.entry, self.record.root
        os.environ.pop("PYTHONSAFEPATH", None)  # a script that starts another finds its modules
        os.chdir(os.path.join(root, *job["folder"].split("/")))
        self.arguments.prepare(entry, job["arguments"])
        search = [os.path.dirname(entry)]
        search += [os.path.join(root, *each.split("/")) for each in job["search"]]
        sys.path[:0] = [os.path.normpath(each) for each in search]
        # At the end, where they hide no installed package.
        last = (os.path.join(root, *each.split("/")) for each in job["search_last"])
        sys.path.extend(os.path.normpath(each) for each in last)
        self.children.start(job)
        self.programs.start()
        self._begin(job)
        if self.authors:
            self.authors.configure(
                experiment=job["name"],
                inputs=job["inputs"],
                arguments=job["arguments"],
                environment=job["environment"],
                own_environment=job["own_environment"],
            )

    def _begin(self, job: dict[str, Any]) -> None:
        """Let what is watched and pinned be so from now on."""
        if job["pin_randomness"]:
            randomness.pin(job["name"])
        warnings.showwarning = self._warning
        # Whoever ends a script that takes too long asks for its line first.
        faulthandler.register(signal.SIGUSR2, file=2, all_threads=False)
        self.person.start()
        self.clock.start(pinned=job["pin_randomness"])
        self.network.is_refused = not job["allow_network"]
        self.files.watch()
        watch_events(self.files, Credentials(self.record), self.network, self.programs.hear)

    def _warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        text = str(message)
        if "serializer warnings" in text:
            self.record.warned.append(text)
        else:
            sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))

    # --- the run --------------------------------------------------------------------------------

    def _execute(self) -> Any:
        function, module = self.job["function"], self.job["module"]
        with open(self.record.entry, "rb") as file:
            code = compile(file.read(), self.record.entry, "exec", dont_inherit=True)
        name = "__main__" if function is None else module or _stem(self.record.entry)
        self.main = self._make_module(name, module)
        sys.modules[name] = self.main
        exec(code, self.main.__dict__)
        if function is not None:
            return self._call(function)
        if self.objects.workflows or self.service.calls or self._experiment_classes():
            return None
        return [each() for each in self._factories()]

    def _make_module(self, name: str, module: str | None) -> types.ModuleType:
        """Make the module that the script's code runs in, as Python would for `-m` or by path."""
        entry = self.record.entry
        main = types.ModuleType(name)
        main.__file__ = entry
        main.__dict__["__builtins__"] = builtins
        if not module:
            return main
        package = module.rpartition(".")[0]
        loader = importlib.machinery.SourceFileLoader(module, entry)
        main.__package__ = package
        main.__spec__ = importlib.machinery.ModuleSpec(module, loader, origin=entry)
        main.__loader__ = loader
        if package:
            importlib.import_module(package)
        self._name_runner_modules(module)
        return main

    def _name_runner_modules(self, module: str) -> None:
        """Name the entry by its package, as `python -m` would, in what runs in the pod.

        Hera takes the most specific folder of sys.path, which here is the script's own.
        """
        try:
            util: Any = importlib.import_module("hera.workflows._runner.util")
            original = util.create_module_string
        except (ImportError, AttributeError):
            return

        @functools.wraps(original)
        def create_module_string(path: Any) -> Any:
            return module if os.path.realpath(path) == self.record.entry else original(path)

        util.create_module_string = create_module_string

    def _call(self, function: str) -> Any:
        made = getattr(self.main, function, None)
        if made is None:
            raise NameError(f"{self.job['path']} defines no function {function}")
        returned = made()
        if inspect.iscoroutine(returned):
            import asyncio

            return asyncio.run(returned)
        return returned

    def _factories(self) -> list[Any]:
        """Give the functions that say by annotation that they make a workflow of nothing."""
        found = []
        for value in list(vars(self.main).values()):
            if not inspect.isfunction(value) or value.__module__ != "__main__":
                continue
            needs = [
                each
                for each in inspect.signature(value).parameters.values()
                if each.default is each.empty
                and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            ]
            if not needs and _means_workflows(value.__annotations__.get("return")):
                found.append(value)
        return found

    def _experiment_classes(self) -> list[Any]:
        if self.authors is None or self.main is None:
            return []
        return list(self.authors.experiments_in(vars(self.main), self.main.__name__))

    def _add_experiments(self) -> None:
        """Build heraci's own Experiment classes, as the last thing, as a caller would."""
        origins, workflows = self.objects.origins, self.objects.workflows
        for kind in self._experiment_classes():
            instance = self.authors.instantiate(kind)
            place = (inspect.getsourcefile(kind) or self.record.entry, _first_line(kind))
            for workflow in self.authors.build(instance):
                # Hera may have made it for the author (from_yaml): it counts as written here.
                known = origins.get(id(workflow))
                file, line = (known.file, known.line) if known else place
                self.objects.claim(workflow, (file, line), self.record.entry)
                if not any(each is workflow for each in workflows):
                    workflows.append(workflow)
            for each in self.authors.requirements_of(instance):
                source = self.record.shown(place)
                self.record.requirements.append(dict(each, source=source, origin="environment"))

    def _reachable(self, returned: Any) -> set[int]:
        """Give the ids of the workflows that the entry's names lead to, three levels deep."""
        found = set()
        level = [returned, *(list(vars(self.main).values()) if self.main else [])]
        for _ in range(4):
            following: list[Any] = []
            for value in level:
                if isinstance(value, dict):
                    following.extend(value.values())
                elif isinstance(value, (list, tuple, set, frozenset)):
                    following.extend(value)
                else:
                    found.add(id(value))
            level = following
        return found

    # --- what went wrong ------------------------------------------------------------------------

    def _ended_well(self, ended: BaseException) -> bool:
        """Tell the last line of a script, `sys.exit(main())`, from one that gives up half-way.

        Libraries for settings give up with exit code 0 as well: that is a failure unless something
        was sent before, or the entry's own last line ended it with its workflows built.
        """
        if not isinstance(ended, SystemExit) or ended.code not in (None, 0, False):
            return False
        if self.service.calls:
            return True
        inside = self._author_frames(ended)
        at_the_end = len(inside) == 1 and inside[0].name == "<module>"
        return at_the_end and bool(self.objects.workflows) and not self.objects.unfinished

    def _author_frames(self, raised: BaseException) -> list[traceback.FrameSummary]:
        try:
            frames = traceback.extract_tb(raised.__traceback__)
        except RecursionError:
            return []
        return [each for each in frames if each.filename.startswith(self.record.prefix)]

    def _failure(self, raised: BaseException, place: Place | None = None) -> dict[str, Any]:
        """Turn what ended the script into one finding at the author's own line."""
        if isinstance(raised, SyntaxError) and raised.filename:
            place = (raised.filename, raised.lineno or 1)
            message = f"{type(raised).__name__}: {raised.msg}"
            return self.record.finding("compile-failed", "error", message, place)
        inside = self._author_frames(raised)
        file, line = getattr(raised, "file", None), getattr(raised, "line", None)
        if file and line:  # an ExperimentError
            place = (file, line)
        elif inside:
            place = (inside[-1].filename, inside[-1].lineno or 1)
        return self.record.finding("compile-failed", "error", self._described(raised), place)

    def _described(self, raised: BaseException) -> str:
        if isinstance(raised, SystemExit):
            return self._described_exit(raised)
        if isinstance(raised, ModuleNotFoundError) and raised.name:
            return (
                f"no module named {raised.name}. If it is a package, name it in a requirements.txt "
                "beside the experiment; if it is a file of the repository, see how the experiment "
                "finds it."
            )
        if isinstance(raised, MemoryError):
            return "ran out of memory; see compile-memory"
        if type(raised).__name__ == "ExperimentError":
            return str(raised)
        if (
            isinstance(raised, KeyError)
            and raised.args[:1]
            and raised.args[0] in self.person.wanted
        ):
            return f"the variable {raised.args[0]} is not there. {_OF_VARIABLES}"
        text = "".join(traceback.format_exception_only(type(raised), raised)).strip()
        if "issubclass() arg 1 must be a class" in text:
            text += (
                "\nHera cannot read the annotations of a script function where the file has "
                "`from __future__ import annotations`: leave that line out."
            )
        home = os.environ.get("HOME") or "~"
        return text.replace(self.record.prefix, "").replace(home, "~") + self._hints(raised)

    def _described_exit(self, ended: SystemExit) -> str:
        if self.arguments.refusal and ended.code == 2:
            return (
                f"the script's own parser refused its command line: {self.arguments.refusal}. "
                f"{self._of_arguments()}"
            )
        if isinstance(ended.code, str):
            return f"the script ended itself: {ended.code}{self._hints(ended)}"
        when = "" if self.service.calls else " before it built a workflow"
        told = f"the script ended itself with exit code {ended.code or 0}{when}"
        return told + self._hints(ended)

    def _hints(self, raised: BaseException) -> str:
        """Say what the script missed, and may have failed for."""
        hints = []
        if self.network.refused:
            hints.append(f"It {self.network.refused}. {OF_THE_NETWORK}")
        if self.person.wanted and not isinstance(raised, SyntaxError):
            names = ", ".join(self.person.wanted)
            hints.append(f"It looked for variables that are not there: {names}. {_OF_VARIABLES}")
        if isinstance(raised, (SystemExit, IndexError, ValueError)) and not self.arguments.given:
            usage = getattr(raised, "code", None) == 2
            if usage or (len(sys.argv) == 1 and "sys.argv" in _text_of(self.record.entry)):
                hints.append(f"It was given no arguments. {self._of_arguments()}")
        if isinstance(raised, ImportError) and "no known parent package" in str(raised):
            hints.append("Its folder is no package: give it an __init__.py, or import by name.")
        return "".join(f"\n{each}" for each in hints)

    def _of_arguments(self) -> str:
        name = self.job["name"]
        key = name if re.fullmatch(r"[\w-]+", name, re.ASCII) else json.dumps(name)
        return (
            f"Its arguments are set in heraci.toml, under [experiments.{key}.arguments], or by "
            "--set; argv is the whole command line."
        )


_OF_VARIABLES = "Set it where heraci runs, and list it in pass-environ."


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _finish() -> None:
    """Do what Python does when a script has ended: wait for threads, call what was to be called."""
    for each in threading.enumerate():
        if each is not threading.current_thread() and not each.daemon:
            each.join()
    atexit._run_exitfuncs()


def _hera_version() -> str | None:
    """Give the version as installed; a copy that lies in a repository knows its own at most."""
    try:
        return importlib.metadata.version("hera")
    except importlib.metadata.PackageNotFoundError:
        return getattr(sys.modules.get("hera._version"), "version", None)


def _means_workflows(annotation: Any) -> bool:
    """Tell whether an annotation names one of Hera's workflows, or a collection of them."""
    if isinstance(annotation, type):
        return any(each.__name__ in ARGO_KINDS for each in annotation.__mro__)
    return any(each in re.findall(r"\w+", str(annotation)) for each in ARGO_KINDS)


def _first_line(kind: Any) -> int:
    try:
        return inspect.getsourcelines(kind)[1]
    except (OSError, TypeError):
        return 1


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def send(sink: int, result: dict[str, Any]) -> None:
    """Write a result to a file descriptor."""
    with os.fdopen(sink, "w", encoding="utf-8") as file:
        file.write(json.dumps(result))


def become_worker(run: Run, prepare: Callable[[], dict[str, Any]]) -> NoReturn:
    """Turn a process that was forked for it into a worker, and run its job.

    `prepare` gives up what the job must not have, and gives its `environ` and the `job`.
    """
    # Taken now: the job may replace them.
    leave, own_pid, write = os._exit, os.getpid(), os.write
    code = 1
    try:
        wanted = prepare()
        os.environ.clear()
        os.environ.update(wanted["environ"])
        outcome = run.result(wanted["job"])
        if os.getpid() == own_pid:  # what the script forked comes here too
            send(RESULT, outcome)
        code = 0
    except BaseException as error:
        # The log is what heraci shows of a worker that gave no result.
        write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            leave(code)
