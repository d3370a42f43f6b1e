"""Compile generated repositories, and do the same with Hera's own command in the same run.

    .venv/bin/python bench/compile.py            some minutes; the table of bench/README.md
    .venv/bin/python bench/compile.py --quick    a minute; for a look while working

Hera's command gets a virtual environment of its own, for its extra `cli`. Whoever is compared takes
turns, so that a slow minute of the machine hits both; each figure is the median of the rounds.
"""

import argparse
import contextlib
import importlib.metadata
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERACI = (sys.executable, "-m", "heraci")


def main():
    """Measure what was asked for and print the table."""
    options = parsed()
    with tempfile.TemporaryDirectory(prefix="heraci-bench-") as folder:
        bench = Bench(Path(folder), options)
        table = [
            *bench.whole_repository(),
            *bench.one_among_many(),
            *bench.large_workflow(),
            *bench.start(),
        ]
    print(f"{machine()}\n")
    print("| what | heraci | compared with | it took | ratio | at most |")
    print("|---|---:|---|---:|---:|---:|")
    for row in table:
        print("| " + " | ".join(row) + " |")


def parsed():
    """Read the sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of each size, one round")
    parser.add_argument("--experiments", type=int, metavar="N", help="of the repository (1000)")
    parser.add_argument("--tasks", type=int, metavar="N", help="of each experiment (20)")
    parser.add_argument("--many", type=int, metavar="N", help="experiments around one (10000)")
    parser.add_argument("--large", type=int, metavar="N", help="tasks of one workflow (10000)")
    parser.add_argument("--rounds", type=int, metavar="N", help="of each figure (3)")
    options = parser.parse_args()
    sizes = {"experiments": 1000, "tasks": 20, "many": 10_000, "large": 10_000, "rounds": 3}
    small = {"experiments": 100, "tasks": 20, "many": 1000, "large": 1000, "rounds": 1}
    for name, size in (small if options.quick else sizes).items():
        if getattr(options, name) is None:
            setattr(options, name, size)
    return options


class Bench:
    """The figures, each a list of rows of the table."""

    def __init__(self, folder, options):
        self.folder, self.options = folder, options
        self.caches = 0
        print("making an environment for Hera's command …", file=sys.stderr)
        self.hera = environment_for_hera(folder / "hera")

    def whole_repository(self):
        """Everything of a repository, cold, then again with nothing changed."""
        options = self.options
        place = generated(self.folder / "whole", options.experiments, options.tasks)
        pinned = generated(self.folder / "pinned", options.experiments, options.tasks)
        version = importlib.metadata.version("hera")
        (pinned / "experiments/requirements.txt").write_text(f"hera[yaml]=={version}\n")
        installed = self.new_cache()
        self.heraci(pinned, installed, "compile", "exp_00000")
        by_hera = [self.hera, "generate", "yaml", "--recursive", "experiments", "--to", "by-hera"]
        cold, again, own, theirs = [], [], [], []
        for _ in range(options.rounds):
            own.append(self.heraci(pinned, installed, "compile", "--all", "--no-cache"))
            cache = self.new_cache()
            theirs.append(seconds(by_hera, place, clean="by-hera"))
            cold.append(self.heraci(place, cache, "compile", "--all", clean="compiled"))
            again.append(self.heraci(place, cache, "compile", "--all"))
        compare_files(place / "compiled", place / "by-hera", options.experiments)
        ours_peak = peak([*HERACI, "compile", "--all"], place, self.environ(self.new_cache()))
        their_peak = peak(by_hera, place, os.environ)
        what = f"{options.experiments:,} experiments of {options.tasks} tasks"
        hera = "`hera generate yaml --recursive`"
        return [
            row(f"{what}, cold", cold, hera, theirs, 0.7),
            row("the same again, nothing changed", again, hera, theirs, 0.05),
            row(f"{what} that pin their packages, installed before", own, hera, theirs, None),
            row(
                f"{what}, cold: processor time",
                *([each.processor for each in cold], hera, [each.processor for each in theirs]),
                None,
            ),
            (
                *(f"{what}: peak memory", f"{ours_peak / 1e6:.0f} MB", hera),
                *(f"{their_peak / 1e6:.0f} MB", f"{ours_peak / their_peak:.2f}", ""),
            ),
        ]

    def one_among_many(self):
        """One changed experiment of many at base and head, and alone in a repository."""
        many = committed(generated(self.folder / "many", self.options.many, self.options.tasks))
        alone = committed(generated(self.folder / "alone", 1, self.options.tasks))
        compare = ("compile", "--base", "HEAD")
        anew = (*compare, "--no-cache")
        figures = {"cold": [], "anew": [], "usual": [], "both": [], "twice": []}
        for number in range(self.options.rounds):
            for place in (many, alone):
                change(place, number)
            cache = self.new_cache()
            figures["cold"].append(self.heraci(many, cache, *compare))
            figures["anew"].append(self.heraci(many, cache, *anew))
            change(many, f"{number}-again")
            figures["usual"].append(self.heraci(many, cache, *compare))
            figures["both"].append(self.heraci(alone, cache, *anew))
            once = [self.heraci(alone, cache, "compile", "--all", "--no-cache") for _ in range(2)]
            figures["twice"].append(sum(once))
        what = f"one changed experiment among {self.options.many:,}"
        twice = "two runs that compile it alone"
        both = "one run that compiles it alone at base and head"
        return [
            row(f"{what}, cold", figures["cold"], twice, figures["twice"], None),
            row(f"{what}, warm, both ends anew", figures["anew"], twice, figures["twice"], 1.5),
            row(f"{what}, warm, both ends anew", figures["anew"], both, figures["both"], None),
            row(f"{what}, warm, the next edit", figures["usual"], twice, figures["twice"], None),
        ]

    def large_workflow(self):
        """One workflow of many tasks."""
        place = generated(self.folder / "large", 1, self.options.large)
        by_hera = [self.hera, "generate", "yaml", "--recursive", "experiments", "--to", "by-hera"]
        ours, theirs = [], []
        for _ in range(self.options.rounds):
            theirs.append(seconds(by_hera, place, clean="by-hera"))
            cache = self.new_cache()
            ours.append(self.heraci(place, cache, "compile", "--all", clean="compiled"))
        what = f"one workflow of {self.options.large:,} tasks, cold"
        return [row(what, ours, "`hera generate yaml --recursive`", theirs, None)]

    def start(self):
        """The time until help is shown."""
        ours, theirs = [], []
        for _ in range(10 * self.options.rounds):
            theirs.append(seconds([sys.executable, "-c", "import argparse"], self.folder))
            ours.append(seconds([*HERACI, "--help"], self.folder))
        return [row("`heraci --help`", ours, '`python -c "import argparse"`', theirs, 2.5)]

    def heraci(self, place, cache, *arguments, clean=None):
        """Time one run of the command."""
        return seconds([*HERACI, *arguments], place, self.environ(cache), clean=clean)

    def environ(self, cache):
        """Give an environ without what could steer heraci or Git."""
        kept = {name: each for name, each in os.environ.items() if not name.startswith("HERACI_")}
        return {**kept, "HERACI_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}

    def new_cache(self):
        """Give a folder that nothing was cached in."""
        self.caches += 1
        return self.folder / f"cache-{self.caches}"


def environment_for_hera(folder):
    """Install the Hera that heraci uses, with its command, and give the command's path."""
    version = importlib.metadata.version("hera")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([folder / "bin/python", *install, f"hera[cli,yaml]=={version}"], check=True)
    return str(folder / "bin/hera")


EXPERIMENT = """\
from hera.workflows import DAG, Container, Parameter, Task, Workflow

with Workflow(generate_name="exp-{number}-", entrypoint="main") as w:
    run = Container(
        name="run",
        image="python:3.12",
        command=["python", "-c"],
        args=["print('{{{{inputs.parameters.x}}}}')"],
        inputs=[Parameter(name="x"), Parameter(name="seed")],
    )
    with DAG(name="main"):
{tasks}
"""
TASK = """\
        t{k} = Task(name="task-{k}", template=run, arguments={{"x": "{k}", "seed": "{number}"}}"""


def generated(place, experiments, tasks):
    """Write a repository of experiments, each a chain of tasks."""
    for number in range(experiments):
        folder = place / "experiments" / f"exp_{number:05d}"
        folder.mkdir(parents=True)
        lines = [
            TASK.format(k=k, number=number) + (f', dependencies=["task-{k - 1}"])' if k else ")")
            for k in range(tasks)
        ]
        source = EXPERIMENT.format(number=number, tasks="\n".join(lines))
        (folder / "experiment.py").write_text(source)
    return place


def committed(place):
    """Make a folder a Git repository with one commit."""
    (place / ".gitignore").write_text("/compiled/\n")
    who = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    for command in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "-m", "all"]):
        subprocess.run(["git", *command], cwd=place, check=True)
    return place


def change(place, word):
    """Change the first experiment."""
    path = place / "experiments/exp_00000/experiment.py"
    text = path.read_text().partition("\n# bench")[0]
    path.write_text(text.replace("python:3.12", "python:3.13") + f"\n# bench {word}\n")


def seconds(command, place, environ=None, *, clean=None):
    """Time one command; `clean` is a folder to remove before."""
    if clean:
        shutil.rmtree(place / clean, ignore_errors=True)
    began, used = time.perf_counter(), processor_time()
    done = subprocess.run(
        command, cwd=place, env=environ, capture_output=True, text=True, check=False
    )
    took = Took(time.perf_counter() - began)
    took.processor = processor_time() - used
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return took


class Took(float):
    """Seconds on the wall, and beside them those of all processors."""

    processor = 0.0


def processor_time():
    """Give the seconds that all ended children, and theirs, have used of processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak(command, place, environ):
    """Give the most memory in bytes that a command and all its descendants held at one time.

    Pages that processes share count once (PSS), so that forks are not counted twice.
    """
    most = 0
    process = subprocess.Popen(
        command, cwd=place, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    ended = threading.Event()

    def watch():
        nonlocal most
        while not ended.wait(0.05):
            most = max(most, sum(map(memory_of, descendants(process.pid))))

    thread = threading.Thread(target=watch)
    thread.start()
    process.wait()
    ended.set()
    thread.join()
    return most


def descendants(pid):
    """Give a process and all that it started."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
    return found


def memory_of(pid):
    """Give a process's share of the memory, in bytes."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return 0


def compare_files(ours, theirs, number):
    """Stop where one of the two has not made all files: then nothing was compared."""
    counts = [len(list(folder.rglob("*.yaml"))) for folder in (ours, theirs)]
    if counts != [number, number]:
        sys.exit(f"heraci wrote {counts[0]} files and Hera {counts[1]}, not {number}")


def row(what, ours, compared, theirs, most):
    """Write one row of the table."""
    a, b = statistics.median(ours), statistics.median(theirs)
    return what, shown(a), compared, shown(b), f"{a / b:.2f}", f"{most}" if most else ""


def shown(value):
    """Write a time as a person reads it."""
    return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.0f} ms"


def machine():
    """Tell what the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    hera = importlib.metadata.version("hera")
    who = "as root" if os.geteuid() == 0 else "as an ordinary user"
    return (
        f"{os.cpu_count()} processors, {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, Hera {hera}, {who}, "
        f"load before {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
