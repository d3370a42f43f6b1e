"""Hostile experiments against the real command, compiled by root and by an ordinary user."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heraci import bundle
from tests.strangers import (
    CANARY,
    CAP_SETUID,
    GOOD,
    IN_A_CONTAINER,
    IS_ROOT,
    LINUX,
    Done,
    Strangers,
    contents,
    strangers,
)

needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root: CI has it")
needs_linux = pytest.mark.skipif(not LINUX, reason="macOS: daemons, memory and users are not held")

# --- what ends badly, whoever compiles it ---------------------------------------------------------


def replaced(document: str) -> str:
    """Write an experiment whose workflow says that it is something else."""
    return f"{GOOD}\nw.to_dict = lambda: {document}\n"


def told(text: str) -> str:
    """Write an experiment that says what only its child processes say."""
    return f"{GOOD}\nimport os\nopen(os.environ['TMPDIR'] + '/.told', 'w').write({text!r})\n"


# Each source with the beginning of the one message that it must give.
BROKEN: dict[str, tuple[str | bytes, str]] = {
    "os-exit": ("import os\nos._exit(0)", "ended without a result"),
    "os-exit-after": (GOOD + "\nimport os\nos._exit(0)", "ended without a result"),
    "sys-exit": ("import sys\nsys.exit(0)", "the script ended itself with exit code 0 before"),
    "kill-itself": ("import os, signal\nos.kill(os.getpid(), 9)", "was ended by SIGKILL"),
    "abort": ("import os\nos.abort()", "was ended by SIGABRT"),
    "syntax-error": ("def f(:\n", "SyntaxError"),
    "null-bytes": (b"x = 1\0\n", "SyntaxError"),
    "not-utf8": (b"x = '\xff\xfe'\n", "SyntaxError"),
    "empty": ("", "built no workflow"),
    "a-gigabyte": (
        """
import sys
line = "x" * (1 << 20)
for _ in range(1024):
    sys.stdout.write(line)
""",
        "OSError",
    ),
    "a-gigabyte-by-another": (
        """
import subprocess, sys
program = "import os\\nwhile True: os.write(2, b'x' * 65536)"
subprocess.run([sys.executable, "-c", program], check=True)
""",
        "subprocess.CalledProcessError",
    ),
    "recursion": ("def f(): return f()\nf()", "RecursionError"),
    "c-recursion": (
        """
import ctypes, sys
sys.setrecursionlimit(10**9)
@ctypes.CFUNCTYPE(ctypes.c_int)
def f(): return f()
f()
""",
        "crashed (SIGSEGV)",
    ),
    "nested-source": ("x = " + "(" * 5000 + ")" * 5000, "SyntaxError: too many nested parentheses"),
    "memory": ("x = [b'x' * (1 << 20) for _ in range(1 << 20)]", "ran out of memory"),
    "disk": (
        """
import itertools
for number in itertools.count():
    with open(f"file{number}", "wb") as file:
        file.write(b"x" * (8 << 20))
""",
        "wrote more than 512 MiB",
    ),
    "deep-folders": (
        """
import os
for _ in range(5000):
    os.mkdir("d")
    os.chdir("d")
os.chmod(".", 0)
raise RuntimeError("down there")
""",
        "RuntimeError: down there",
    ),
    "open-files": ("x = [open('/dev/null') for _ in range(10**6)]", "OSError"),
    "threads": (
        """
import threading
never = threading.Event()
while True:
    threading.Thread(target=never.wait).start()
""",
        "RuntimeError: can't start new thread",
    ),
    "surrogate": ("raise ValueError('\\ud800')", "ValueError"),
    "control": ("raise ValueError('\\x1b[31m\\r\\n::error::x\\u2028##[error]x')", "ValueError"),
    "strange-error": (
        """
class Strange(Exception):
    def __str__(self): raise SystemExit(0)
    __repr__ = __str__
raise Strange
""",
        "Strange",
    ),
    "huge-message": ("raise ValueError('x' * (8 << 20))", "ValueError"),
    # The descriptor of the result is 3: what a script writes there itself must do no harm.
    "result-no-json": (
        "import os\nos.write(3, b'no json')\nos._exit(0)",
        "its result cannot be read",
    ),
    "result-no-object": ("import os\nos.write(3, b'[1]')\nos._exit(0)", "ended without a result"),
    "result-empty": ("import os\nos.write(3, b'{}')\nos._exit(0)", "sent what is no result"),
    "result-deep": (
        "import os\nos.write(3, b'[' * 10**6)\nos._exit(0)",
        "its result cannot be read",
    ),
    "result-huge": (
        "import os\nwhile os.write(3, b' ' * (1 << 20)): pass",
        "ended with exit code 1",
    ),
    "result-closed": (GOOD + "\nimport os\nos.close(3)", "ended with exit code 1"),
    "result-elsewhere": (
        GOOD + "\nimport os\nos.dup2(os.open('/dev/null', os.O_WRONLY), 3)",
        "ended without a result",
    ),
}
# What a manifest cannot hold, and what must not be taken for the worker's own.
CANNOT = "ValueError: the manifest cannot be written: "
BROKEN |= {
    "nan": (replaced("{'spec': {'templates': [float('nan')]}}"), CANNOT),
    "half-a-character": (replaced("{'spec': {'templates': ['\\ud800']}}"), CANNOT),
    "cyclic": ("x = []\nx.append(x)" + replaced("{'spec': {'templates': x}}"), CANNOT),
    "nested-document": (
        "x = []\nfor _ in range(10**6): x = [x]" + replaced("{'spec': {'templates': x}}"),
        CANNOT,
    ),
    "huge-document": (
        replaced("{'metadata': {'name': 'x' * (32 << 20)}, 'spec': {'templates': []}}"),
        "ended with exit code 1",
    ),
    "no-builtins": (
        GOOD + "\nfor name in [*vars(__builtins__)]: del __builtins__.__dict__[name]",
        "ended with exit code 1",
    ),
    "json-replaced": (
        GOOD + "\nimport json\njson.dumps = lambda *given, **options: '{}'",
        "sent what is no result",
    ),
    "exit-at-exit": (
        GOOD + "\nimport atexit, os\natexit.register(os._exit, 0)",
        "ended without a result",
    ),
    "told-garbage": (told('x\n[1]\n["touched", 5]\n["call", 5]\n'), "TypeError"),
    "told-deep": (told("[" * 10**6), "RecursionError"),
}
ENDLESS = {
    "loop": "while True: pass",
    "told-by-a-pipe": GOOD + "\nimport os\nos.mkfifo(os.environ['TMPDIR'] + '/.told')",
    "thread": GOOD + "\nimport threading\nthreading.Thread(target=threading.Event().wait).start()",
    "yaml-bomb": GOOD
    + """
import yaml
text = "a: &a [x,x,x,x,x,x,x,x,x]\\n"
for before, after in zip("abcdefghij", "bcdefghijk"):
    text += f"{after}: &{after} [" + ",".join(["*" + before] * 9) + "]\\n"
made = yaml.safe_load(text)
w.to_dict = lambda: {"kind": "Workflow", "spec": {"templates": [], "x": made}}
""",
    "sleep": "import signal\nsignal.pause()",
    "no-signal-helps": """
import signal
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
while True: pass
""",
    "files": """
import itertools, os
for number in itertools.count():
    os.close(os.open(f"file{number}", os.O_CREAT))
""",
}
NO_RESULT = "sent what is no result"


def workflow(metadata: str, sources: str = "{}") -> str:
    return (
        f'"documents": [{{"document": {{"kind": "Workflow", "metadata": {metadata}}},'
        f' "sources": {sources}}}]'
    )


# A part of the result that is not what it should be.
SHAPES = {
    "touched-number": ('"touched": 1', NO_RESULT),
    "touched-lists": ('"touched": [["a"], {}, null]', NO_RESULT),
    "touched-outside": (
        '"touched": ["../../../../etc/passwd", "/etc/passwd"]',
        "built no workflow",
    ),
    "error-text": ('"error": "no module named"', NO_RESULT),
    "error-list": ('"error": [1]', NO_RESULT),
    "findings-text": ('"findings": "x"', NO_RESULT),
    "findings-severity": (
        '"findings": [{"severity": "fatal", "rule": 1, "message": 2, "line": 3, "file": null}]',
        NO_RESULT,
    ),
    "documents-number": ('"documents": 5', NO_RESULT),
    "documents-list": ('"documents": [[]]', NO_RESULT),
    "documents-none": ('"documents": [{"document": null, "sources": {}}]', NO_RESULT),
    "metadata-text": (workflow('"x"'), NO_RESULT),
    "sources-list": (workflow("{}", "[]"), NO_RESULT),
    "name-object": (workflow('{"name": {"a": []}}'), NO_RESULT),
    "namespace-list": (workflow('{"namespace": []}'), NO_RESULT),
    "kind-object": (
        '"documents": [{"document": {"kind": {"a": 1}}, "sources": {}}]',
        NO_RESULT,
    ),
    "not-a-number": (workflow('{"x": NaN}'), NO_RESULT),
    "deep-inside": (workflow("[" * 900 + "]" * 900), NO_RESULT),
    "huge-number": (workflow('{"x": 1' + "0" * 5000 + "}"), "its result cannot be read"),
    "requirements-none": ('"requirements": null', NO_RESULT),
    "requirements-keys": ('"requirements": [{"kind": {}, "name": [], "keys": 5}]', NO_RESULT),
    "requirements-namespace": (
        '"requirements": [{"kind": "Secret", "name": "x", "namespace": ["y"]}]',
        NO_RESULT,
    ),
    "python-object": ('"python": {"a": 1}', NO_RESULT),
    "error-outside": (
        (
            '"error": {"rule": "x", "severity": "error", "message": "m\\ud800", "line": -1,'
            ' "file": "../../../../etc/passwd\\n::error::x"}'
        ),
        "m?",
    ),
}


def shape(part: str) -> str:
    """A script that sends a result whose one part is not what it should be."""
    usual = {
        "documents": "[]",
        "requirements": "[]",
        "findings": "[]",
        "error": "null",
        "touched": "[]",
        "hera": '"7"',
        "python": '"3.11"',
    }
    del usual[part.split('"')[1]]
    rest = ", ".join(f'"{key}": {each}' for key, each in usual.items())
    text = "{" + part + ", " + rest + "}"
    return f"import os\nos.write(3, {text!r}.encode())\nos._exit(0)"


@pytest.fixture(params=["root", "ordinary"])
def place(request: pytest.FixtureRequest) -> Iterator[Strangers]:
    """Make a repository that root compiles, and one that an ordinary user compiles."""
    if request.param == "root" and not IS_ROOT:
        pytest.skip("needs root: CI has it")
    with strangers(ordinary=request.param == "ordinary") as made:
        yield made


@pytest.fixture
def as_root() -> Iterator[Strangers]:
    """Make a repository that root compiles."""
    with strangers(ordinary=False) as made:
        yield made


def check_that_nothing_is_left(place: Strangers) -> None:
    """Look for files where heraci stages them, and for processes of the run."""
    assert list(place.temporary.iterdir()) == []
    assert place.processes() == {}


def first_lines(findings: dict[str, list[str]]) -> dict[str, list[str]]:
    return {
        name: [each.splitlines()[0][:200] for each in messages]
        for name, messages in findings.items()
    }


def check_all_compiled_but(done: Done, expected: dict[str, str]) -> None:
    """Compare the first line of each finding with the beginning that is expected, and statuses."""
    found = first_lines(done.findings)
    cut = {
        name: [each[: len(expected.get(name, each))] for each in lines]
        for name, lines in found.items()
    }
    assert cut == {name: [message] for name, message in expected.items()}
    good = {name for name in done.statuses if name.startswith("good")}
    assert done.statuses == {
        **dict.fromkeys(expected, "failed"),
        **dict.fromkeys(good, "compiled"),
    }
    assert set(done.written) == {f"{name}.yaml" for name in good} | {"bundle.json"}
    assert done.code == 1
    bundle.load(done.output)


def test_each_broken_one_gives_one_finding_and_all_others_compile(place: Strangers) -> None:
    for name, (text, _) in BROKEN.items():
        place.repository.write(f"experiments/{name}/experiment.py", text)
    place.add(**{name: shape(part) for name, (part, _) in SHAPES.items()})
    # A hundred with the broken ones alone, of which each third is broken.
    place.add(**{f"good-{number}": GOOD for number in range(100 - len(BROKEN))})
    before = contents(place.repository.path)
    done = place.compile("--compile-timeout", "90", "--compile-memory", "1GiB")
    expected = {name: message for name, (_, message) in {**BROKEN, **SHAPES}.items()}
    check_all_compiled_but(done, expected)
    assert done.stderr == ""
    assert contents(place.repository.path) == before
    check_that_nothing_is_left(place)


def test_what_never_ends_is_ended(place: Strangers) -> None:
    place.add(**ENDLESS)
    done = place.compile("--compile-timeout", "1")
    message = "took longer than 1 s (compile-timeout)"
    assert first_lines(done.findings) == {name: [message] for name in ENDLESS}
    assert done.code == 1
    check_that_nothing_is_left(place)


# --- attacks that end in a report of what worked --------------------------------------------------

# What an attack may use: `worked` holds what it could do, `heraci` are the pids of the server and
# of heraci itself, PLACE is the folder that holds the repository, the output and the caches.
ATTACK = """
import ctypes, os, signal, socket, sys
from pathlib import Path
PLACE, PORT, CANARY = {place!r}, {port}, "".join({canary!r})
worked = []
def parent(pid):
    return int(Path(f"/proc/{{pid}}/status").read_text().split("PPid:")[1].split()[0])
def tried(name, action, *arguments):
    try:
        result = action(*arguments)
    except (OSError, ValueError):
        return
    if result is not False:
        worked.append(name)
heraci = [os.getppid(), parent(os.getppid())]
def others():
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()
            and int(each.name) != os.getpid()]
{body}
raise RuntimeError(f"worked: {{sorted(set(worked))}}")
"""
ATTACKS = {
    "environs": """
for pid in others():
    tried(f"environ", lambda: CANARY.encode() in Path(f"/proc/{pid}/environ").read_bytes())
for pid in heraci:
    tried(f"environ of {pid}", Path(f"/proc/{pid}/environ").read_bytes)
""",
    "memory": """
libc = ctypes.CDLL(None, use_errno=True)
for pid in others():
    tried(f"mem of {pid}", open, f"/proc/{pid}/mem", "rb")
    tried(f"maps of {pid}", lambda: Path(f"/proc/{pid}/maps").read_text() != "" and pid in heraci)
    tried(f"attach to {pid}", lambda: libc.ptrace(16, pid, 0, 0) == 0)
    tried(f"descriptors of {pid}", os.listdir, f"/proc/{pid}/fd")
""",
    "kill": """
for pid in others():
    for number in (0, signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
        tried(f"signal {pid}", os.kill, pid, number)
tried("group of heraci", os.killpg, os.getpgid(heraci[1]), signal.SIGKILL)
os.kill(-1, signal.SIGKILL)  # Linux calls this a success whoever was spared
""",
    "secret-files": """
for folder in (PLACE, "/root", "/home"):
    for place, _, names in os.walk(folder):
        for name in names:
            tried(f"{place}/{name}", lambda: CANARY.encode() in Path(place, name).read_bytes())
for name in ("/etc/shadow", PLACE + "/home/.netrc", PLACE + "/kubeconfig"):
    tried(name, Path(name).read_bytes)
for name in Path("/root").glob("*") if os.access("/root", os.R_OK) else ():
    if name.name not in (".pyenv", ".cache", ".local") and not name.name.startswith("venv"):
        tried(str(name), os.listdir, name)
""",
    "write": """
here = Path.cwd()
slot = next(each for each in here.parents if each.name.startswith("t")).parent
for folder in (PLACE, PLACE + "/repository", PLACE + "/repository/experiments", PLACE + "/output",
               PLACE + "/cache", PLACE + "/temporary", PLACE + "/home", slot, slot.parent,
               *(slot.parent / str(number) for number in range(4)), sys.prefix, sys.base_prefix,
               *(each for each in sys.path if "heraci" not in each and each.startswith("/")
                 and not each.startswith(str(slot)))):
    tried(f"write into {folder}", lambda: (Path(folder) / "evil").write_text("evil"))
for name in ("result", "log"):
    tried(f"replace {name}", lambda: (slot / name).unlink())
    tried(f"link over {name}", os.symlink, "/etc/passwd", slot / name)
tried("list slots", os.listdir, slot.parent)
for number in range(4):
    tried(f"list slot {number}", os.listdir, slot.parent / str(number))
tried("rename own place", os.rename, next(e for e in here.parents if e.name.startswith("t")),
      slot / "elsewhere")
tried("hard link", os.link, "/etc/passwd", "linked")
tried("hard link of heraci", os.link, PLACE + "/repository/heraci.toml", "linked-too")
""",
    "become-root": """
tried("setuid", os.setuid, 0)
tried("setgid", os.setgid, 0)
tried("setgroups", os.setgroups, [0])
tried("groups", lambda: bool(os.getgroups()))
tried("capabilities", lambda: any(
    int(line.split()[1], 16) for line in open("/proc/self/status")
    if line.startswith(("CapPrm", "CapEff", "CapAmb"))))
tried("mount", lambda: ctypes.CDLL(None).mount(b"none", b"/", b"tmpfs", 0, None) == 0)
""",
    "network": """
# Not by Python's own way, which heraci refuses before it reaches the wall.
libc = ctypes.CDLL(None)
made = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
address = socket.AF_INET.to_bytes(2, "little") + PORT.to_bytes(2, "big") + bytes([127, 0, 0, 1])
tried("port", lambda: libc.connect(made, address + bytes(8), 16) == 0)
""",
}
# What holds without root, too.
OWN = """
tried("own environ", lambda: CANARY in str(dict(os.environ)))
tried("strange variable", lambda: bool(set(os.environ) - {
    "PATH", "HOME", "TMPDIR", "LANG", "TZ", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE",
    "PYTHONSAFEPATH", "PYTHONNOUSERSITE", "ARGO_SERVER", "ARGO_NAMESPACE", "ARGO_SERVICE_ACCOUNT",
    "ARGO_TOKEN", "KUBECONFIG", "HERACI", "LC_CTYPE", "USER", "LOGNAME", "HERACI_CHILD",
    "PYTHONPATH"}))
tried("environ at start", lambda: CANARY.encode() in Path("/proc/self/environ").read_bytes())
tried("home", lambda: bool(os.listdir(Path.home())))
tried("server", lambda: CANARY.encode() in Path(f"/proc/{heraci[0]}/environ").read_bytes())
# 0 to 3, and the one that lists.
tried("descriptors", lambda: set(os.listdir("/proc/self/fd")) != {"0", "1", "2", "3", "4"})
tried("input", lambda: bool(sys.stdin.read()))
tried("terminal", open, "/dev/tty")
"""


def attack(place: Strangers, body: str, port: int = 9) -> str:
    values = {"place": str(place.place), "port": port, "canary": list(CANARY)}
    return ATTACK.format(body=body, **values)


@pytest.fixture
def port() -> Iterator[int]:
    """Listen somewhere, as a cloud's metadata service does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def secrets(place: Strangers) -> dict[str, str]:
    """Put the canary wherever heraci is told secrets."""
    kubeconfig = (
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n"
        "contexts: [{name: a, context: {cluster: a, user: a}}]\n"
        "clusters: [{name: a, cluster: {server: 'https://a.example.org'}}]\n"
        f"users: [{{name: a, user: {{token: {CANARY}}}}}]\n"
    )
    for name in ("home/.netrc", "kubeconfig"):
        (place.place / name).write_text(CANARY)
        (place.place / name).chmod(0o600)
    return {
        "ARGO_TOKEN": CANARY,
        "HERACI_ARGO_TOKEN": CANARY,
        "HERACI_GITHUB_TOKEN": CANARY,
        "GITHUB_TOKEN": CANARY,
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "KUBECONFIG": kubeconfig,
    }


@needs_root
@needs_linux
def test_as_root_no_experiment_reaches_a_secret_or_another_process(
    as_root: Strangers, port: int
) -> None:
    for name, body in {**ATTACKS, "own": OWN}.items():
        as_root.add(**{name: attack(as_root, body, port)})
    as_root.add(**{f"good-{number}": GOOD for number in range(30)})
    as_root.repository.write("heraci.toml", "")
    environ = secrets(as_root)
    before = contents(as_root.repository.path)
    done = as_root.compile("--compile-timeout", "60", **environ)
    check_all_compiled_but(done, dict.fromkeys([*ATTACKS, "own"], "RuntimeError: worked: []"))
    # heraci itself has lived, and so have all workers that ran beside the attacks.
    assert CANARY not in done.everything
    assert contents(as_root.repository.path) == before
    check_that_nothing_is_left(as_root)


@needs_linux
def test_an_experiment_is_given_no_secret(place: Strangers) -> None:
    place.add(own=attack(place, OWN), good=GOOD)
    done = place.compile(**secrets(place))
    check_all_compiled_but(done, {"own": "RuntimeError: worked: []"})
    assert CANARY not in done.everything


# --- what outlives its worker ---------------------------------------------------------------------

STAYS = """
import os, signal, sys
from pathlib import Path
WORKER = os.getpid()
def detach():
    if os.fork(): return False
    os.setsid()
    if os.fork(): os._exit(0)
    return True
"""
DAEMONS = {
    "sleeps": "if detach(): signal.pause()",
    "writes-later": """
if detach():
    while os.getppid() != WORKER: pass
    while True:
        try:
            Path(MARK).write_text("here")
            if os.getppid() != WORKER:
                os.write(3, b"no result")
        except OSError: pass
""",
    "many": "for _ in range(20):\n    if detach(): signal.pause()",
    "stopped": """
import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
if detach():
    os.kill(os.getpid(), signal.SIGSTOP)
""",
    "forks-on": """
if detach():
    while True:
        if os.fork(): os._exit(0)
""",
    "debugs-its-parent": """
import ctypes
libc = ctypes.CDLL(None)
libc.prctl(0x59616d61, -1, 0, 0, 0)
mine, r = os.getpid(), os.pipe()
if not os.fork():
    libc.ptrace(0x4206, mine, 0, 0)  # SEIZE, and never wait
    os.write(r[1], b"x")
    signal.pause()
os.read(r[0], 1)
os._exit(0)
""",
    "ends-by-signal": "if detach(): signal.pause()\nos.kill(os.getpid(), 9)",
}
BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


@needs_linux
def test_nothing_outlives_its_worker(place: Strangers) -> None:
    marks = Path(tempfile.mkdtemp(prefix="marks-"))
    marks.chmod(0o777)
    head = STAYS + f"MARK = {str(marks / 'mark')!r}\n"
    for name, body in DAEMONS.items():
        tail = "" if "os._exit" in body and "detach" not in body else GOOD
        place.add(**{f"good-{name}": head + body + tail})
    place.add(bomb=BOMB, **{f"good-{number}": GOOD for number in range(20)})
    place.repository.write("heraci.toml", "[experiments.bomb]\ncompile-timeout = 3\n")
    done = place.compile()
    check_that_nothing_is_left(place)
    (marks / "mark").unlink(missing_ok=True)
    time.sleep(0.5)
    assert not (marks / "mark").exists()
    marks.rmdir()
    failed = {name for name, status in done.statuses.items() if status != "compiled"}
    assert failed == {"bomb", "good-debugs-its-parent", "good-ends-by-signal"}
    assert first_lines(done.findings) == {
        "bomb": ["took longer than 3 s (compile-timeout)"],
        "good-debugs-its-parent": ["ended without a result: the script ended its own process"],
        "good-ends-by-signal": ["was ended by SIGKILL"],
    }


@needs_root
@needs_linux
def test_what_is_left_in_shared_folders_goes_with_its_worker(as_root: Strangers) -> None:
    token = f"left-by-{as_root.place.name}"
    source = f"""
import os
for folder in ("/tmp", "/var/tmp", "/dev/shm"):
    try:
        os.makedirs(f"{{folder}}/{token}/" + "d/" * 300)
        open(f"{{folder}}/{token}-file", "w").close()
        os.symlink("/etc/passwd", f"{{folder}}/{token}-link")
    except FileNotFoundError:
        pass
"""
    as_root.add(good=source + GOOD)
    done = as_root.compile()
    assert done.statuses == {"good": "compiled"}
    shared = [Path(each) for each in ("/tmp", "/var/tmp", "/dev/shm") if Path(each).is_dir()]
    assert [each for folder in shared for each in folder.glob(f"{token}*")] == []


@needs_linux
def test_as_an_ordinary_user_the_loss_of_the_server_is_one_clear_error() -> None:
    with strangers(ordinary=True) as place:
        place.add(evil="import os\nos.kill(os.getppid(), 9)", good=GOOD)
        done = place.compile()
        assert (done.code, done.stdout) == (3, "")
        assert done.stderr.startswith("heraci: the compile server ended before its work was done")
        assert not place.place.joinpath("output").exists()
        check_that_nothing_is_left(place)


# --- root that may do less ------------------------------------------------------------------------


@needs_root
@needs_linux
def test_in_a_container_no_experiment_reaches_a_secret_or_another_process(port: int) -> None:
    attacks = {name: body for name, body in ATTACKS.items() if name != "network"}
    with strangers(ordinary=False, capabilities=IN_A_CONTAINER) as place:
        for name, body in {**attacks, "own": OWN}.items():
            place.add(**{name: attack(place, body, port)})
        place.add(**{f"good-{number}": GOOD for number in range(10)})
        place.add(
            **{
                f"good-{name}": STAYS + "MARK = '/dev/null'\n" + DAEMONS[name] + GOOD
                for name in ("sleeps", "many", "stopped", "forks-on")
            }
        )
        place.repository.write("heraci.toml", "")
        done = place.compile("--compile-timeout", "60", **secrets(place))
        expected = dict.fromkeys([*attacks, "own"], "RuntimeError: worked: []")
        check_all_compiled_but(done, expected)
        assert CANARY not in done.everything
        check_that_nothing_is_left(place)


@needs_root
@needs_linux
def test_root_that_may_not_become_another_user_is_told_so() -> None:
    kept = tuple(set(IN_A_CONTAINER) - {CAP_SETUID})
    with strangers(ordinary=False, capabilities=kept) as place:
        place.add(good=GOOD)
        done = place.compile()
        assert (done.code, done.stdout, done.written) == (3, "", {})
        assert done.stderr.startswith(
            "heraci: heraci runs as root, yet may not run experiments as an unprivileged user "
        )
        check_that_nothing_is_left(place)


# --- what a repository may hold -------------------------------------------------------------------


def test_links_lead_nowhere_outside(place: Strangers) -> None:
    secret = place.place / "secret.py"
    secret.write_text(f"SECRET = {CANARY!r}\n")
    reads = "import {0}\nraise RuntimeError('{0} was read: ' + {0}.SECRET)\n"
    links = {"absolute": str(secret), "relative": "../../../secret.py", "folder": "../../.."}
    for name, target in links.items():
        place.add(
            **{
                name: reads.format(name)
                if name != "folder"
                else "raise RuntimeError(open('folder/secret.py').read())"
            }
        )
        link = place.repository.path / "experiments" / name / name
        link.with_suffix("" if name == "folder" else ".py").symlink_to(target)
    place.repository.write("experiments/whole/README.md")
    (place.repository.path / "experiments/whole/experiment.py").symlink_to(secret)
    (place.repository.path / "experiments/out").symlink_to(place.place)
    place.add(good=GOOD)
    done = place.compile()
    assert done.code == 1, done.stderr
    assert CANARY not in done.everything
    failed = [*links, "whole"]
    assert done.statuses == dict.fromkeys(failed, "failed") | {"good": "compiled"}
    assert {name: len(each) for name, each in done.findings.items()} == dict.fromkeys(failed, 1)
    assert done.findings["whole"] == ["is a link that leads out of the repository, or to nothing"]


def test_no_name_and_no_message_is_taken_for_a_command(place: Strangers) -> None:
    evil = "\n::error::x\r\n::set-output name=a::b\n##[error]c\x1b[2J\u2028::warning::d\x85e"
    name = "x" + evil.replace("/", "")
    source = f"import sys\nprint({evil!r})\nprint({evil!r}, file=sys.stderr)\n"
    place.add(**{name: source + f"raise ValueError({evil!r})", "good\n::error::x": GOOD})
    place.add(prints=source + GOOD, silent=source)
    for style in ("text", "github", "json"):
        done = place.compile("--format", style)
        assert done.code == 1, done.stderr
        lines = (done.stdout + done.stderr).split("\n")
        mine = [line for line in lines if line.startswith("::error title=heraci%3A ")]
        commands = [line for line in lines if line.lstrip().startswith("::") and line not in mine]
        assert commands == []
        assert (len(mine) > 0) == (style == "github")
        assert [each for each in "\r\x1b\x85\u2028" if each in done.stdout + done.stderr] == []
        assert "##[" not in done.stdout + done.stderr


@needs_root
def test_no_name_of_a_commit_leads_out_of_the_staged_copy(as_root: Strangers) -> None:
    """Git refuses to make such a tree, and most servers to take it; an object can be written."""
    as_root.add(good=GOOD)
    repository = as_root.repository
    repository.commit("First")
    blob = repository.git("hash-object", "-w", "experiments/good/experiment.py")
    entry = b"100644 evil.py\0" + bytes.fromhex(blob)
    inner = written(repository.path, "tree", entry)
    for _ in range(12):
        inner = written(repository.path, "tree", b"40000 ..\0" + bytes.fromhex(inner))
    folder = b"100644 experiment.py\0" + bytes.fromhex(blob)
    evil = written(repository.path, "tree", b"40000 ..\0" + bytes.fromhex(inner) + folder)
    tree = written(repository.path, "tree", b"40000 evil\0" + bytes.fromhex(evil))
    tree = written(repository.path, "tree", b"40000 experiments\0" + bytes.fromhex(tree))
    commit = repository.git("commit-tree", tree, "-p", "HEAD", "-m", "Evil")
    done = as_root.compile("--head", commit)
    assert not Path("/evil.py").exists()
    assert done.code in (1, 3), done.stderr
    check_that_nothing_is_left(as_root)


def written(path: Path, kind: str, content: bytes) -> str:
    """Write an object as it is into a repository."""
    command = ["git", "hash-object", "--literally", "-w", "-t", kind, "--stdin"]
    return (
        subprocess.run(command, cwd=path, input=content, capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )


def test_a_path_too_long_to_be_staged_is_one_finding(place: Strangers) -> None:
    deep = "/".join(["d" * 200] * 19)
    descriptor = os.open(place.repository.path, os.O_DIRECTORY)
    place.add(deep=GOOD, good=GOOD)
    for part in ("experiments", "deep", *deep.split("/")):
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, dir_fd=descriptor)
        following = os.open(part, os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = following
    os.close(os.open("data", os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)
    done = place.compile()
    assert done.code in (0, 1), done.stderr
    assert done.statuses["good"] == "compiled"
    assert len(done.findings.get("deep", [])) <= 1


# --- interruptions --------------------------------------------------------------------------------


def interrupted(place: Strangers, number: int) -> tuple[int, Path]:
    """Compile a daemon, a loop and a good one, and send a signal when all are under way."""
    output = place.place / "output"
    place.add(good=GOOD, loop="while True: pass", daemon=STAYS + "detach()\nwhile True: pass")
    process = place.start("compile", "--all", "--output", str(output))
    deadline = time.monotonic() + 60
    while len(place.processes()) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode, output


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
@needs_linux
def test_interrupted_it_leaves_nothing(place: Strangers, number: int, code: int) -> None:
    assert interrupted(place, number) == (code, place.place / "output")
    deadline = time.monotonic() + 20  # killed itself, it cannot wait for its server
    while (place.processes() or any(place.temporary.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.1)
    check_that_nothing_is_left(place)
    assert not (place.place / "output").exists()
