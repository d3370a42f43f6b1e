"""The review as its readers get it: golden texts, hostile data, and texts that must not be longer.

What is rendered from hostile data is parsed again, by a Markdown parser that is not ours and by
Python's own HTML parser, and nothing in it may come from the data but text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from heraci.bundle import Bundle, CompiledExperiment, Finding, Manifest, Severity, Status
from heraci.comparison import Review, Room
from heraci.review import (
    COMMENT,
    SUMMARY,
    Annotations,
    Budget,
    annotated,
    markdown,
    page,
    terminal,
)
from tests.reviews import (
    arguments,
    dag,
    experiment,
    manifest,
    reviewed,
    script,
    steps,
    task,
    workflow,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "review"
SOURCE = "https://github.com/lab/experiments/blob/0a1b2c3d4e/"
ELSEWHERE = "https://github.com/lab/experiments/actions/runs/1"
MARKER = "<!-- heraci:review -->"

Golden = Callable[[Path, str], None]


# Reviews as they happen


def simulation(points: int, image: str = "lab/solver:1.4", **more: Any) -> Manifest:
    """Prepare a mesh, simulate each point of a grid, and plot."""
    runs = [
        task(f"run-{number:02}", depends="mesh", arguments=arguments(dt=0.1 * (number % 4 + 1)))
        for number in range(points)
    ]
    everything = " && ".join(each["name"] for each in runs)
    gpu = script("simulate", image)
    gpu["script"]["resources"] = {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"nvidia.com/gpu": 1},
    }
    main = dag(
        "study",
        task("mesh", "prepare"),
        *runs,
        task("plot", "plot", depends=everything, withItems=["png", "pdf"]),
    )
    made = workflow(
        main,
        script("prepare"),
        gpu,
        script("plot", image="lab/plot:2"),
        name="vortex-",
        parallelism=8,
        arguments=arguments(viscosity="1e-5"),
    )
    sources = {"": "experiments/vortex/experiment.py:12", **more.pop("sources", {})}
    return replace(made, sources=sources, **more)


def bundle(*experiments: CompiledExperiment, findings: tuple[Finding, ...] = ()) -> Bundle:
    return Bundle(
        target="lab",
        commit="0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
        base="99887766554433221100ffeeddccbbaa99887766",
        versions={"heraci": "1.0.0", "python": "3.12"},
        experiments=experiments,
        findings=findings,
    )


def shown(*experiments: CompiledExperiment, **more: Any) -> Review:
    findings = more.pop("findings", ())
    more.setdefault("source_url", SOURCE)
    more.setdefault("elsewhere", "the artifact of this run")
    more.setdefault("elsewhere_url", ELSEWHERE)
    return reviewed(bundle(*experiments, findings=findings), **more)


CRON = manifest(
    {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "CronWorkflow",
        "metadata": {"name": "nightly-report"},
        "spec": {
            "schedules": ["15 3 * * *"],
            "timezone": "Europe/Paris",
            "workflowSpec": {"entrypoint": "report", "templates": [script("report")]},
        },
    }
)

FINDINGS = (
    Finding(
        rule="unbound-name",
        severity=Severity.ERROR,
        message="`advect` uses the name np, which its template does not import. "
        "Import numpy inside of the function.",
        experiment="advection",
        file="experiments/advection/experiment.py",
        line=31,
    ),
    Finding(
        rule="image-tag",
        severity=Severity.WARNING,
        message="The image lab/plot has no tag, so it may be another tomorrow.",
        experiment="vortex",
        file="experiments/vortex/experiment.py",
        line=40,
    ),
    Finding(
        rule="not-asserted",
        severity=Severity.NOTICE,
        message="Not asserted: this pull request comes from a fork.",
    ),
)


def one_changed() -> Review:
    return shown(
        experiment(
            "vortex",
            [simulation(48, "lab/solver:1.5", sources={"simulate": "experiments/vortex/a.py:3"})],
            [simulation(12)],
            reasons=("imports experiments/lib/mesh.py, which changed",),
        ),
        asserted=True,
    )


def everything() -> Review:
    old, new = simulation(12), simulation(48, "lab/solver:1.5")
    unknown = workflow(
        dag(
            "main",
            task("list", "simulate"),
            task("each", depends="list", withParam="{{tasks.list.outputs.result}}"),
            task("check", depends="each", when="{{tasks.list.outputs.result}} != []"),
        ),
        script(),
        name="adaptive-",
    )
    return shown(
        experiment("vortex", [new], [old]),
        experiment("adaptive", [unknown], status=Status.ADDED),
        experiment("nightly", [CRON], status=Status.ADDED),
        experiment("shared", [CRON], [CRON], status=Status.UNCHANGED),
        experiment(
            "advection",
            status=Status.FAILED,
            log="Traceback (most recent call last):\n  ...\nNameError: name 'np' is not defined\n",
        ),
        experiment("lost-base", [old], base_error="SyntaxError in experiments/lost-base/x.py:3"),
        experiment(
            "old-study", (), [old], status=Status.REMOVED, reasons=("its folder was removed",)
        ),
        findings=FINDINGS,
        asserted=False,
    )


def nothing_affected() -> Review:
    return shown(asserted=True)


def only_unchanged() -> Review:
    return shown(
        *(
            experiment(name, [CRON], [CRON], status=Status.UNCHANGED)
            for name in ("drag", "lift", "nightly")
        )
    )


def only_removed() -> Review:
    return shown(experiment("old-study", (), [simulation(12)], status=Status.REMOVED))


def compiled_only() -> Review:
    """As on a laptop outside of Git: nothing is compared."""
    return replace(
        reviewed(
            Bundle(experiments=(experiment("a", [CRON], status=Status.COMPILED, reasons=()),))
        ),
        elsewhere="compiled",
    )


def tight_quota() -> Review:
    return replace(
        one_changed(),
        quota=(
            Room(resource="requests.cpu", hard=Fraction(64), used=Fraction(60)),
            Room(resource="requests.memory", hard=Fraction(1024**4), used=Fraction(0)),
            Room(resource="pods", hard=Fraction(100), used=Fraction(10)),
            Room(resource="services", hard=Fraction(1), used=Fraction(1)),
        ),
    )


def too_large_a_picture() -> Review:
    """Tasks that are all different, so none can stand for others."""
    tasks = [task(f"t{n}", f"s{n}", **({"depends": f"t{n // 2}"} if n else {})) for n in range(90)]
    made = workflow(dag("main", *tasks), *(script(f"s{n}") for n in range(90)))
    return shown(experiment("web", [made], status=Status.ADDED))


def several_pictures() -> Review:
    made = workflow(
        dag("main", task("a", "inner"), task("b", "inner", depends="a")),
        steps("inner", [task("x"), task("y")], [task("z", withItems=[1, 2])]),
        script(),
    )
    return shown(experiment("nested", [made], status=Status.ADDED))


REVIEWS: Mapping[str, Callable[[], Review]] = {
    "one-changed": one_changed,
    "everything": everything,
    "nothing-affected": nothing_affected,
    "only-unchanged": only_unchanged,
    "only-removed": only_removed,
    "compiled-only": compiled_only,
    "tight-quota": tight_quota,
    "too-large-a-picture": too_large_a_picture,
    "several-pictures": several_pictures,
}


@pytest.mark.parametrize("name", REVIEWS)
def test_the_comment_is_as_agreed(name: str, golden: Golden):
    golden(GOLDEN / f"{name}.md", markdown(REVIEWS[name](), COMMENT, MARKER))


@pytest.mark.parametrize("name", ["one-changed", "everything"])
def test_the_terminal_is_as_agreed(name: str, golden: Golden):
    golden(GOLDEN / f"{name}.txt", terminal(REVIEWS[name]()))


def test_the_page_is_as_agreed(golden: Golden):
    golden(GOLDEN / "everything.html", page(everything()))


# The first screen


@pytest.mark.parametrize(
    ("review", "title"),
    [
        (one_changed, "## ✅ Ready to merge"),
        (everything, "## ❌ Do not merge yet: 1 error, 1 experiment did not compile"),
        (nothing_affected, "## ✅ Nothing changes on the cluster"),
        (only_unchanged, "## ✅ Nothing changes on the cluster"),
        (only_removed, "## ✅ Merging starts nothing"),
    ],
)
def test_the_first_line_says_whether_to_merge(review: Callable[[], Review], title: str):
    assert markdown(review(), COMMENT).splitlines()[0] == title


def test_a_warning_is_to_be_read_first():
    review = replace(one_changed(), findings=(FINDINGS[1],))
    assert markdown(review).splitlines()[0] == "## ⚠️ Ready to merge, with 1 warning to read first"


def test_findings_come_in_order_of_severity():
    text = markdown(replace(one_changed(), findings=FINDINGS[::-1]))
    places = [text.index(each.rule) for each in FINDINGS]
    assert places == sorted(places)


def test_an_unchanged_experiment_that_is_submitted_says_so():
    review = replace(only_unchanged(), submit_unchanged=True)
    assert "same manifest, submitted all the same" in markdown(review)


def test_the_same_review_is_the_same_text():
    assert markdown(everything(), COMMENT) == markdown(everything(), COMMENT)
    assert page(everything()) == page(everything())
    assert terminal(everything()) == terminal(everything())


# Hostile data


HOSTILE = (
    "@octocat",
    "hello @octocat, and @lab/team",
    "see #12 and GH-12 and lab/repo#12 and lab/repo@0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
    "https://evil.example/x",
    "www.evil.example",
    "<https://evil.example>",
    "mail me@evil.example",
    "[x](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "[x]: https://evil.example",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</code></summary></details><h1>x</h1>",
    "<!-- heraci:review -->",
    "-->",
    "<![CDATA[x]]>",
    "&lt;b&gt; &#64;octocat &amp;",
    "`",
    "`` ` ``",
    "a`@octocat",
    "```\n@octocat\n```",
    "````````\n<b>x</b>",
    "~~~\n@octocat",
    "a | @octocat | c",
    "a \\| @octocat",
    "a\\",
    "\\`@octocat\\`",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "---",
    "===",
    "***",
    "*bold* _it_ ~~gone~~",
    "$x$ $`y`$",
    ":tada:",
    "line\n@octocat\r\n\r\n# heading\n\n- x",
    "    indented",
    "\t@octocat",
    "",
    " ",
    "\u202egnp.exe\u202c",
    "zero\u200bwidth\u2060joiner\ufeff",
    "\u2028@octocat\u2029",
    "\x1b[31mred\x1b]0;title\x07",
    "\x00\x08\x9b31m",
    "\ud800",
    "\U0001f600 \U000e0041",
    "::error::x",
    "##[error]x",
    '"]:::x\nclick g0n0 "https://evil.example"',
    '"]; subgraph x["@octocat"',
    "end",
    "%%{init: {}}%%",
    "x" * 5000,
    "word " * 2000,
    "'onmouseover='alert(1)' x=\"",
    "../../../../evil",
    "javascript:alert(1)",
)


def hostile_manifest(text: str, items: int = 1) -> Manifest:
    """The string in every place that a manifest has."""
    template = script(text, image=text)
    key = text[:900]  # YAML has no longer keys
    template["script"]["source"] = f"{text}\n{text}\n"
    template["script"]["env"] = [{"name": text, "value": text}]
    template["inputs"] = {"parameters": [{"name": text, "value": text}]}
    looped = task(
        text, text, withItems=[text] * items, when=text, arguments=arguments(**{text: text})
    )
    unknown = task(text + "2", text, depends=text, withParam="{{" + text + "}}")
    spec = {
        "entrypoint": text,
        "templates": [dag(text, looped, unknown), template],
        "arguments": arguments(**{text: text}),
        key: text,
    }
    content = {"kind": text, "metadata": {"name": text, "labels": {key: text}}, "spec": spec}
    return Manifest(
        kind="Workflow",
        name=text,
        namespace=text,
        digest=f"sha256:{items:064x}",
        document={**content, "kind": "Workflow"},
        sources={"": f"{text}:3", text: f"{text}:4"},
    )


def hostile(text: str) -> Review:
    """The string in every place that a review has."""
    try:
        text.encode()
    except UnicodeEncodeError:
        heads, bases = [], []  # no YAML can hold it
    else:
        heads, bases = [hostile_manifest(text, 2)], [hostile_manifest(text)]
    findings = tuple(
        Finding(rule=text, severity=severity, message=text, experiment=text, file=file, line=line)
        for severity in Severity
        for file, line in ((text, 3), (f"a/{text}.py", None), (None, None))
    )
    parts = (
        experiment(text, heads, bases, path=text, reasons=(text, f"reads {text}, which changed")),
        experiment(text, heads, path=text, base_error=text),
        experiment(text, heads, path=text, status=Status.ADDED),
        experiment(text, heads, heads, path=text, status=Status.UNCHANGED, reasons=(text,)),
        experiment(text, (), bases, path=text, status=Status.REMOVED),
        experiment(text, path=text, status=Status.FAILED, log=f"{text}\n{text}"),
    )
    made = replace(bundle(*parts), target=text, commit=text, base=text, versions={text: text})
    return replace(
        reviewed(made, findings=findings),
        source_url=SOURCE,
        elsewhere="the artifact of this run",
        elsewhere_url=ELSEWHERE,
        asserted=False,
        quota=(Room(resource=text, hard=Fraction(1), used=Fraction(1)),),
    )


# What GitHub, or a parser, would take for more than text.
MEANING = re.compile(r"@|#\d|GH-\d|://|www\.|[<>`$|\\*_~\[\]{}]|:\w+:|[0-9a-f]{40}")
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff"
    "\U000e0000-\U000e007f]"
)
TAGS = re.compile(
    r"<details(?: open)?>|</details>|</?summary>|<code>[^<]*</code>|" + re.escape(MARKER)
)


def tokens_of(text: str) -> Iterator[Token]:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for token in parser.parse(text):
        yield token
        yield from token.children or ()


def check_markdown(text: str) -> None:
    """Hold a rendered text to what only we may write."""
    assert not HIDDEN.search(text)
    opened = closed = 0
    for token in tokens_of(text):
        if token.type == "link_open":
            assert str(token.attrs["href"]).startswith((SOURCE, ELSEWHERE))
            assert "/.." not in str(token.attrs["href"])
        elif token.type in {"html_block", "html_inline"}:
            rest = TAGS.sub("", token.content)
            assert not MEANING.search(rest), token.content
            opened += token.content.count("<details")
            closed += token.content.count("</details>")
        elif token.type == "text":
            assert not MEANING.search(token.content), token.content
        elif token.type == "heading_open":
            assert token.markup in {"##", "####"}
        elif token.type == "fence":
            assert token.info in {"text", "diff", "yaml", "mermaid"}
            if token.info == "mermaid":
                check_mermaid(token.content)
        else:
            assert token.type in PLAIN_TOKENS, token.type
    assert opened == closed


PLAIN_TOKENS = {
    "inline",
    "softbreak",
    "code_inline",
    "link_close",
    *(
        f"{name}_{end}"
        for name in ("paragraph bullet_list list_item heading table thead tbody tr th td".split())
        for end in ("open", "close")
    ),
}
MERMAID = re.compile(
    r"flowchart (?:LR|TD)"
    r"|classDef \w+ [\w#:,. -]+"
    r'|subgraph g\d+\["[^"<>`]*"\]|end|direction (?:LR|TD)|g\d+ ~~~ g\d+'
    r"|style g\d+ fill:none,stroke:#8c959f"
    r'|g\d+n\d+(?:\["|\[\["|\{\{")[^"`{}\[\]|]*(?:"\]|"\]\]|"\}\}):::\w+'
    r"|g\d+n\d+ --> g\d+n\d+"
)


def check_mermaid(text: str) -> None:
    for line in text.splitlines():
        assert MERMAID.fullmatch(line.strip()), line
        assert not re.search(r"[@$&\\']|//|<(?!br/>)", line), line


@pytest.mark.parametrize("text", HOSTILE, ids=[f"{n}" for n in range(len(HOSTILE))])
def test_nothing_of_the_data_is_markup_in_markdown(text: str):
    review = hostile(text)
    for budget in (SUMMARY, COMMENT, Budget(utf8_bytes=6_000)):
        check_markdown(markdown(review, budget, MARKER))


@pytest.mark.parametrize("name", REVIEWS)
def test_what_holds_for_hostile_data_holds_for_any(name: str):
    check_markdown(markdown(REVIEWS[name](), SUMMARY, MARKER))


def test_the_checks_themselves_notice_markup():
    for text in ("@octocat", "<b>", "![x](y)", "[x](https://evil.example)", "a\n===\n", "~~x~~"):
        with pytest.raises(AssertionError):
            check_markdown(text)


class Tags(HTMLParser):
    """What an HTML parser sees: tags with their attributes, and whether they are balanced."""

    VOID = frozenset({"meta", "path", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in {"href", "src"}}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def tags_of(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    tags.close()
    assert tags.open == []
    return tags


def test_the_page_has_tags_that_close_and_neither_scripts_nor_other_addresses():
    tags = tags_of(page(everything()))
    assert "script" not in tags.seen
    assert all(each.startswith(SOURCE) for each in tags.links)


@pytest.mark.parametrize("text", HOSTILE, ids=[f"{n}" for n in range(len(HOSTILE))])
def test_nothing_of_the_data_is_markup_in_the_page(text: str):
    allowed = tags_of(page(everything()))
    written = page(hostile(text))
    found = tags_of(written)
    assert not HIDDEN.search(written)
    assert found.seen <= allowed.seen
    assert found.attributes <= allowed.attributes
    assert all(each.startswith(SOURCE) and "/.." not in each for each in found.links)


@pytest.mark.parametrize("text", HOSTILE, ids=[f"{n}" for n in range(len(HOSTILE))])
def test_nothing_of_the_data_moves_the_cursor(text: str):
    written = terminal(hostile(text), yaml=True)
    assert not HIDDEN.search(written)
    ours = re.compile(r"\x1b\[(?:0|1|2|31|32|33|36)m")
    assert not HIDDEN.search(ours.sub("", terminal(hostile(text), colour=True, yaml=True)))


def test_colours_are_the_only_difference_that_they_make():
    plain = terminal(everything())
    coloured = terminal(everything(), colour=True)
    assert "\x1b" in coloured
    stripped = re.sub(r"\x1b\[\d+m", "", coloured)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


# Size


def many(count: int) -> Review:
    """One experiment under many names, which is faster than comparing each of them."""
    one = shown(experiment("study", [simulation(48, "lab/solver:1.5")], [simulation(12)]))
    (part,) = one.experiments
    names = [f"study-{number:03}" for number in range(count)]
    return replace(
        one,
        experiments=tuple(
            replace(part, experiment=replace(part.experiment, name=name)) for name in names
        ),
        findings=tuple(
            Finding(
                rule="image-tag",
                severity=Severity.WARNING,
                message="The image has no tag.",
                experiment=name,
            )
            for name in names
        ),
    )


@pytest.fixture(scope="module")
def two_hundred() -> Review:
    return many(200)


@pytest.fixture(scope="module")
def one_mebibyte() -> Review:
    def of(image: str) -> Manifest:
        templates = [script(f"t{n}", f"{image}:{n}") for n in range(5000)]
        return workflow(*templates, name="huge-")

    base, head = of("lab/a"), of("lab/b")
    return shown(experiment("huge", [head], [base]), experiment("new", [head], status=Status.ADDED))


BUDGETS = [
    COMMENT,
    SUMMARY,
    Budget(utf8_bytes=20_000),
    Budget(utf8_bytes=10_000),
    Budget(utf8_bytes=3_000),
    Budget(characters=5_000),
]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
@pytest.mark.parametrize("which", ["two_hundred", "one_mebibyte"])
def test_a_long_review_is_cut_to_size_and_whole(
    which: str, budget: Budget, request: pytest.FixtureRequest
):
    text = markdown(request.getfixturevalue(which), budget, MARKER)
    assert len(text) <= (budget.characters or len(text))
    assert len(text.encode()) <= (budget.utf8_bytes or len(text.encode()))
    assert text.startswith(f"{MARKER}\n## ")
    check_markdown(text)


def test_what_was_left_out_is_said_at_the_end_with_where_it_is(two_hundred: Review):
    last = markdown(two_hundred, COMMENT).splitlines()[-1]
    assert last.startswith("⚠️ GitHub limits the length. Left out here: ")
    assert last.endswith(f"See [the artifact of this run]({ELSEWHERE}).")


def test_the_first_screen_survives_the_longest_review(two_hundred: Review):
    text = markdown(two_hundred, COMMENT)
    assert text.index("study-000") < 3_000
    assert "Merging starts 200 workflows with 10,200 pods." in text
    # All 200 have a row, whatever became of their sections.
    assert {f"`study-{number:03}` | changed" in text for number in range(200)} == {True}


def test_a_review_that_fits_loses_nothing():
    assert "Left out" not in markdown(everything(), SUMMARY)


def test_the_least_worth_goes_first():
    text = markdown(everything(), Budget(utf8_bytes=14_000))
    assert "Left out here: " in text
    assert "```mermaid" in text
    assert "| parameter space" in text


def test_a_long_diff_keeps_its_first_hunks_and_says_so(one_mebibyte: Review):
    text = markdown(one_mebibyte, SUMMARY)
    assert re.search(
        r"These are the first [\d,]+ of [\d,]+ lines\. All are in \[the artifact", text
    )


def test_characters_are_counted_as_github_does():
    astral = replace(
        one_changed(),
        findings=tuple(
            Finding(rule="x", severity=Severity.ERROR, message="\U0001f600" * 500, line=number)
            for number in range(40)
        ),
    )
    text = markdown(astral, Budget(characters=9_000))
    assert len(text.encode("utf-16-le")) // 2 <= 9_000


# Annotations


def finding(number: int, severity: Severity = Severity.ERROR, **more: Any) -> Finding:
    return Finding(rule="r", severity=severity, message=f"m{number}", **more)


def test_annotations_are_the_gravest_placed_and_taken_in_turn():
    noisy = [finding(n, experiment="a", file="a.py", line=n + 1) for n in range(30)]
    quiet = finding(99, experiment="b", file="b.py", line=1)
    unplaced = finding(98)
    notice = finding(97, Severity.NOTICE, file="c.py")
    found = annotated([notice, unplaced, *noisy, quiet, noisy[0]], each_level=4)
    assert found == Annotations(
        shown=(noisy[0], quiet, noisy[1], noisy[2], notice), left_out=((Severity.ERROR, 28),)
    )


def test_a_finding_without_a_place_is_annotated_last():
    placed, unplaced = finding(1, file="z.py"), finding(0)
    assert annotated([unplaced, placed]).shown == (placed, unplaced)


def test_an_annotations_message_is_visible_and_keeps_its_lines():
    (found,) = annotated([replace(finding(1), message="a\n\x1b[31mb\u202e")]).shown
    assert found.message == "a\n\\x1b[31mb\\u202e"
