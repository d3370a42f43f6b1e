"""Experiments with packages of their own: what they declare, and builds that mean harm."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from heraci import bundle
from tests.strangers import CANARY, GOOD, IS_ROOT, LINUX, Done, Strangers, contents, strangers
from tests.wheels import index, repack, sdist, source, wheel

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root: CI has it")
needs_linux = pytest.mark.skipif(not LINUX, reason="macOS: users and daemons are not held")

USES_TINY = """
import tiny
from hera.workflows import Container, Workflow

with Workflow(generate_name=f"tiny-{tiny.VERSION}-", entrypoint="main") as w:
    Container(name="main", image="alpine:3.20", command=["true"])
"""
BLOCK = """# /// script
# {}
# ///
"""


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of packages: the Hera that heraci runs with, and ones that hold a number."""
    made = tmp_path_factory.mktemp("packages")
    repack(made, "hera[yaml]")
    for version in ("1", "2"):
        wheel(made, "tiny", version, {"tiny.py": f"VERSION = {version!r}\n"})
    wheel(made, "other", "1", {"other.py": ""}, ("tiny==1",))
    return made


@pytest.fixture(params=["root", "ordinary"])
def place(request: pytest.FixtureRequest, packages: Path) -> Iterator[Strangers]:
    """Make a repository that root compiles, and one that an ordinary user compiles."""
    if request.param == "root" and not IS_ROOT:
        pytest.skip("needs root: CI has it")
    with strangers(ordinary=request.param == "ordinary") as made:
        shutil.copytree(packages, made.place / "packages")
        (made.place / "packages").chmod(0o755)
        yield made


@pytest.fixture
def as_root(packages: Path) -> Iterator[Strangers]:
    """Make a repository that root compiles."""
    with strangers(ordinary=False) as made:
        shutil.copytree(packages, made.place / "packages")
        (made.place / "packages").chmod(0o755)
        yield made


def compile_offline(place: Strangers) -> Done:
    """Compile everything, with the packages of the folder and no others."""
    links = str(place.place / "packages")
    return place.compile("--offline", "--compile-timeout", "90", UV_FIND_LINKS=links)


def names(done: Done) -> dict[str, list[str]]:
    """Give what the manifests of each experiment are called."""
    loaded = bundle.load(done.output)
    return {each.name: [one.name for one in each.manifests] for each in loaded.experiments}


def pins(done: Done, package: str) -> dict[str, list[str]]:
    """Give which version of a package each experiment got."""
    loaded = bundle.load(done.output)
    return {
        each.name: [pin for pin in each.pins if pin.startswith(f"{package}==")]
        for each in loaded.experiments
    }


def test_contradicting_pins_compile_in_one_command(place: Strangers) -> None:
    write = place.repository.write
    place.add(
        block=BLOCK.format('dependencies = ["tiny==2"]') + USES_TINY,
        requirements=USES_TINY,
        project=USES_TINY,
        included=USES_TINY,
        local=USES_TINY,
        own=GOOD,
    )
    write("experiments/requirements/requirements.txt", "# pinned\ntiny==1\n")
    write(
        "experiments/project/pyproject.toml",
        '[project]\nname = "x"\nversion = "1"\ndependencies = ["tiny>1", "heraci"]\n',
    )
    write("experiments/included/requirements.txt", "-r ../../pins/all.txt\n")
    write("pins/all.txt", "-c more/limits.txt\n-r all.txt\ntiny\n")
    write("pins/more/limits.txt", "tiny<2\n")
    write("experiments/local/requirements.txt", "-e ./packages/tiny\n")
    for name, text in source("tiny", "3").items():
        write(f"packages/tiny/{name}", text)
    done = compile_offline(place)
    assert done.code == 0, done.stdout
    assert names(done) == {
        "block": ["tiny-2-"],
        "included": ["tiny-1-"],
        "local": ["tiny-3-"],
        "own": ["good-"],
        "project": ["tiny-2-"],
        "requirements": ["tiny-1-"],
    }
    assert {name: found for name, found in pins(done, "tiny").items() if "local" not in name} == {
        "block": ["tiny==2"],
        "included": ["tiny==1"],
        "own": [],
        "project": ["tiny==2"],
        "requirements": ["tiny==1"],
    }
    assert list(place.temporary.iterdir()) == []
    kept = place.place / "cache" / "python" / "trusted" / "environments"
    assert [each.name for each in kept.iterdir() if each.name.startswith(".")] == []


def test_what_cannot_be_installed_is_one_finding(place: Strangers) -> None:
    write = place.repository.write
    broken: dict[str, str | bytes] = {
        "absent": "nobody-has-this==1\n",
        "conflict": "tiny==2\nother==1\n",
        "no-requirement": "tiny === === 1\n",
        "not-utf8": b"tiny\xff\n",
        "include-absent": "-r other.txt\n",
        "include-outside": "-r ../../../../../../etc/passwd\n",
        "no-folder": "./nothing-here\n",
        "build-fails": "./packages/broken\n",
    }
    for name, text in broken.items():
        place.add(**{name: USES_TINY})
        write(f"experiments/{name}/requirements.txt", text)
    for name, text in source("broken", "1", "raise ValueError('cannot be built')").items():
        write(f"packages/broken/{name}", text)
    place.add(
        **{
            "block-open": "# /// script\n# dependencies = []\n" + GOOD,
            "block-broken": BLOCK.format("dependencies = [") + GOOD,
            "block-wrong": BLOCK.format("dependencies = 7") + GOOD,
            "python-absent": BLOCK.format('requires-python = ">=3.99"') + GOOD,
            "python-broken": BLOCK.format('requires-python = "the newest"') + GOOD,
            "project-broken": GOOD,
            "good": GOOD,
        }
    )
    write("experiments/project-broken/pyproject.toml", "[project\n")
    done = compile_offline(place)
    assert done.code == 1, done.stderr
    print(done.findings)
    found = {name: len(messages) for name, messages in done.findings.items()}
    assert found == {name: 1 for name in done.statuses if name != "good"}
    assert done.statuses["good"] == "compiled"
    assert set(done.written) == {"good.yaml", "bundle.json"}
    told = {name: messages[0] for name, messages in done.findings.items()}
    expected = {
        "absent": "nobody-has-this",
        "conflict": "tiny==1",
        "not-utf8": "cannot be read",
        "include-absent": "experiments/include-absent/other.txt, which does not exist",
        "include-outside": "which does not exist",
        "build-fails": "cannot be built",
        "block-open": "not closed",
        "block-wrong": "no list of strings",
        "python-absent": "3.99",
        "project-broken": "experiments/project-broken/pyproject.toml cannot be read",
    }
    assert {name: each for name, each in expected.items() if each not in told[name]} == {}


# --- builds that mean harm ------------------------------------------------------------------------

# What a build, and later the package itself, does: `worked` is left in the package.
HARM = """
import ctypes, os, signal, sys
from pathlib import Path
PLACE, CANARY = {place!r}, "".join({canary!r})

def attack():
    worked = []
    def tried(name, action, *arguments):
        try:
            result = action(*arguments)
        except (OSError, ValueError):
            return
        if result is not False:
            worked.append(name)
    own = os.getuid()
    for each in Path("/proc").iterdir():
        if not each.name.isdigit():
            continue
        pid = int(each.name)
        tried(f"secret of {{pid}}", lambda: CANARY.encode() in (each / "environ").read_bytes())
        tried(f"secret line of {{pid}}", lambda: CANARY.encode() in (each / "cmdline").read_bytes())
        try:
            if each.stat().st_uid == own:
                continue
        except OSError:
            continue
        tried(f"environ of {{pid}}", (each / "environ").read_bytes)
        tried(f"signal {{pid}}", os.kill, pid, signal.SIGKILL)
    tried("own secret", lambda: CANARY in str(dict(os.environ)))
    for folder in (PLACE, PLACE + "/repository", PLACE + "/output", PLACE + "/cache",
                   PLACE + "/cache/python", PLACE + "/cache/python/trusted/environments",
                   PLACE + "/packages", sys.base_prefix, "/root", "/etc"):
        tried(f"write into {{folder}}", lambda: Path(folder, "evil").write_text("evil"))
    for root, _, files in os.walk(Path.home().parent):
        for name in files:
            file = Path(root, name)
            tried(f"secret in {{file}}", lambda: CANARY.encode() in file.read_bytes())
    for name in (PLACE + "/victim", PLACE + "/home/.netrc", "/etc/shadow"):
        tried(name, Path(name).read_bytes)
    if not os.fork():
        os.setsid()
        if not os.fork():
            os.closerange(0, 64)  # or uv would wait for its end
            signal.pause()
        os._exit(0)
    return sorted(worked)
"""
BUILDS = """
_attack = attack
def attack():
    if worked := _attack():
        raise RuntimeError(f"worked: {worked}")
"""
# What lies in the environment is ours when it is finished: what may a build have put there?
PLANTS = {
    "a-link-for-heracis-file": """
    os.symlink(PLACE + "/victim", env / "heraci.json")
""",
    "a-folder-for-heracis-file": """
    (env / "heraci.json" / "x").mkdir(parents=True)
""",
    "links-out": """
    os.symlink(PLACE + "/victim", env / "lib" / "victim")
    os.symlink(PLACE, env / "lib" / "place")
    os.mkfifo(env / "lib" / "pipe")
    os.chmod(env / "lib", 0o4777)
""",
    "deep-folders": """
    here = os.getcwd()
    os.chdir(env)
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(here)
""",
}


def harm(place: Strangers) -> str:
    return HARM.format(place=str(place.place), canary=list(CANARY))


def secrets(place: Strangers) -> dict[str, str]:
    for name in ("victim", "home/.netrc"):
        (place.place / name).write_text(CANARY)
        (place.place / name).chmod(0o600)
    return {"HERACI_ARGO_TOKEN": CANARY, "GITHUB_TOKEN": CANARY, "UV_INDEX_MINE_PASSWORD": CANARY}


def check_that_nothing_is_left(place: Strangers) -> None:
    assert list(place.temporary.iterdir()) == []
    assert place.processes() == {}
    kept = place.place / "cache" / "python" / "trusted" / "environments"
    assert [each.name for each in kept.iterdir() if each.name.startswith(".")] == []


@needs_root
@needs_linux
def test_as_root_a_build_reaches_nothing(as_root: Strangers) -> None:
    sdist(as_root.place / "packages", "evil", "1", harm(as_root) + BUILDS)
    for name, text in source("evil-too", "1", harm(as_root) + BUILDS).items():
        as_root.repository.write(f"packages/evil/{name}", text.replace("evil-too", "evil_too"))
    as_root.add(sdist=GOOD, folder=GOOD, good=GOOD)
    as_root.repository.write("experiments/sdist/requirements.txt", "evil\n")
    as_root.repository.write("experiments/folder/requirements.txt", "./packages/evil\n")
    before = contents(as_root.repository.path)
    environ = secrets(as_root)
    links = str(as_root.place / "packages")
    done = as_root.compile("--offline", UV_FIND_LINKS=links, **environ)
    assert done.findings == {}
    assert done.statuses == dict.fromkeys(("sdist", "folder", "good"), "compiled")
    assert CANARY not in done.everything
    assert contents(as_root.repository.path) == before
    check_that_nothing_is_left(as_root)


@needs_linux
def test_what_a_build_puts_into_an_environment_does_no_harm(place: Strangers) -> None:
    for name, body in PLANTS.items():
        attack = harm(place) + (
            "\ndef attack():\n"
            "    env = next(p for p in Path.home().parent.glob('env'))\n"
            "    if (env / 'planted').exists(): return\n"
            "    (env / 'planted').touch()\n"
        )
        sdist(place.place / "packages", name.replace("-", "_"), "1", attack + body)
        place.add(**{name: GOOD})
        place.repository.write(f"experiments/{name}/requirements.txt", name)
    place.add(good=GOOD)
    secrets(place)
    done = compile_offline(place)
    assert (place.place / "victim").read_text() == CANARY
    assert (place.place / "victim").stat().st_mode & 0o777 == 0o600
    assert place.place.stat().st_mode & 0o777 == 0o755
    # Python walks through very deep folders from 3.12 on.
    statuses = {name: each for name, each in done.statuses.items() if name != "deep-folders"}
    assert statuses == dict.fromkeys({*PLANTS, "good"} - {"deep-folders"}, "compiled")
    assert done.findings.keys() <= {"deep-folders"}
    check_that_nothing_is_left(place)


SWAPS = """
import os, sys
if os.path.exists("install.json") and os.path.isdir("env") and not os.path.islink("env"):
    os.rename("env", "elsewhere")
    os.symlink({target!r}, "env")
"""


@needs_root
@needs_linux
def test_as_root_a_link_is_not_taken_for_an_environment(as_root: Strangers) -> None:
    target = as_root.place / "target"
    (target / "lib").mkdir(parents=True)
    (target / "lib" / "file").touch()
    for each in (target, target / "lib", target / "lib" / "file"):
        each.chmod(0o700)
    swap = SWAPS.format(target=str(target))
    wheel(as_root.place / "packages", "swap", "1", {"swap.py": swap, "swap.pth": "import swap\n"})
    as_root.add(swap=GOOD, good=GOOD)
    as_root.repository.write("experiments/swap/requirements.txt", "swap\n")
    done = compile_offline(as_root)
    assert done.statuses == {"swap": "failed", "good": "compiled"}
    assert len(done.findings["swap"]) == 1
    assert [each.stat().st_mode & 0o777 for each in sorted(target.rglob("*"))] == [0o700, 0o700]
    assert sorted(each.name for each in target.rglob("*")) == ["file", "lib"]
    check_that_nothing_is_left(as_root)


SPIES = """
import os, sys
from pathlib import Path
CANARY = "".join({canary!r})
def spy():
    found = ["own environ"] if CANARY in str(dict(os.environ)) else []
    for each in Path("/proc").iterdir():
        for name in ("environ", "cmdline"):
            try:
                if CANARY.encode() in (each / name).read_bytes():
                    found.append(f"{{name}} of {{each.name}}")
            except OSError:
                pass
    for root, _, files in os.walk(Path.home().parent):
        for name in files:
            try:
                if CANARY.encode() in Path(root, name).read_bytes():
                    found.append(f"{{root}}/{{name}}")
            except OSError:
                pass
    with open(Path(__file__).with_name("spied.txt"), "a") as file:
        file.write(f"ran {{found}}\\n")
try:
    spy()
except OSError:
    pass
"""


@needs_linux
def test_an_indexs_password_reaches_no_package(place: Strangers) -> None:
    links = place.place / "packages"
    spies = SPIES.format(canary=list(CANARY))
    files = {"spy.py": spies, "spy.pth": "import spy\n"}
    wheel(links, "spy", "1", files)
    sdist(links, "builds", "1", "def attack():\n    raise RuntimeError('it ran')\n")
    place.add(spy="import spy\n" + GOOD, builds=GOOD, absent=GOOD)
    place.repository.write("experiments/spy/requirements.txt", "spy\n")
    place.repository.write("experiments/builds/requirements.txt", "builds\n")
    place.repository.write("experiments/absent/requirements.txt", "not-in-this-index\n")
    with index(links, CANARY) as url:
        done = place.compile(HERACI_INDEX_URL=url)
    assert done.statuses == {"spy": "compiled", "builds": "failed", "absent": "failed"}, done.stdout
    assert CANARY not in done.everything
    assert "it ran" not in done.everything
    [told] = list((place.place / "cache").rglob("spied.txt"))
    lines = set(told.read_text().splitlines())
    if place.uid is not None:  # an ordinary user's processes are open to each other, heraci's too
        lines = {re.sub(r"'environ of \d+'(, )?", "", each) for each in lines}
    assert lines == {"ran []"}
    hidden = [each for each in contents(place.place / "cache").values() if CANARY.encode() in each]
    assert hidden == []
    check_that_nothing_is_left(place)


# --- one Python for many experiments --------------------------------------------------------------

# What it was before, whatever the others of its slot did; and what it leaves to the next.
UNTOUCHED = """
import builtins, os, tempfile
from pathlib import Path
from hera.shared import global_config
from hera.workflows import Container, Workflow

places = (Path.home() / "left", Path(tempfile.gettempdir()) / "left", Path("left"))
found = [str(each) for each in places if each.exists()]
found += [each for each in ("left",) if hasattr(builtins, each) or each in os.environ]
found += ["image"] if global_config.image == "left" else []
with Workflow(generate_name="clean-" if not found else "spoilt-", entrypoint="main") as w:
    Container(name="main", image="alpine:3.20", command=["true"], args=[*found])
w.labels = {"python": str(os.getppid())}
for each in places:
    each.write_text("left")
builtins.left = os.environ["left"] = global_config.image = "left"
"""
# Its Python runs the next experiments, too.
PEEKS = """
import ctypes, os
from hera.workflows import Container, Workflow

refused = []
parent = os.getppid()
for name in ("environ", "mem", "maps"):
    try:
        open(f"/proc/{parent}/{name}", "rb").read(1)
    except OSError:
        refused.append(name)
attach = 16
if ctypes.CDLL(None, use_errno=True).ptrace(attach, parent, 0, 0) == -1:
    refused.append("ptrace")
with Workflow(generate_name="-".join(["no", *refused, ""]), entrypoint="main") as w:
    Container(name="main", image="alpine:3.20", command=["true"])
"""
ENDS_ITS_PYTHON = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nsignal.pause()\n"
STOPS_ITS_PYTHON = "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\n"
STAYS = """
import subprocess
subprocess.Popen(["sleep", "300"], start_new_session=True)
"""


@needs_linux
def test_experiments_that_share_a_python_share_nothing_else(place: Strangers) -> None:
    place.repository.write("experiments/requirements.txt", "tiny==1\n")
    place.add(**{f"clean-{number}": UNTOUCHED for number in range(9)}, peeks=PEEKS)
    done = compile_offline(place)
    assert done.code == 0, done.stdout
    found = names(done)
    assert found.pop("peeks") == ["no-environ-mem-maps-ptrace-"]
    assert found == {f"clean-{number}": ["clean-"] for number in range(9)}
    manifests = [
        one.document
        for each in bundle.load(done.output).experiments
        if each.name != "peeks"
        for one in each.manifests
    ]
    # One for each slot, of which there is one more than HERACI_JOBS.
    assert len({each["metadata"]["labels"]["python"] for each in manifests}) <= 4


@needs_linux
def test_what_an_experiment_does_to_its_python_harms_no_other(place: Strangers) -> None:
    place.repository.write("experiments/requirements.txt", "tiny==1\n")
    place.add(
        ends=ENDS_ITS_PYTHON + USES_TINY,
        stays=STAYS + USES_TINY,
        stops=STOPS_ITS_PYTHON + USES_TINY,
        **{f"good-{number}": USES_TINY for number in range(8)},
    )
    links = str(place.place / "packages")
    done = place.compile("--offline", "--compile-timeout", "8", UV_FIND_LINKS=links)
    assert {name: each[0].splitlines()[0] for name, each in done.findings.items()} == {
        "ends": "was ended by SIGKILL",
        "stops": "took longer than 8 s (compile-timeout)",
    }
    good = {name: each for name, each in names(done).items() if name not in done.findings}
    assert good == {"stays": ["tiny-1-"], **{f"good-{n}": ["tiny-1-"] for n in range(8)}}
    assert place.processes() == {}
