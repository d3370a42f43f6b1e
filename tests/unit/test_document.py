"""The canonical form, the digest and the YAML text of one Kubernetes document."""

from __future__ import annotations

import hashlib
import math
import random
from textwrap import dedent
from typing import Any

import pytest
import yaml

from heraci import document

C_LOADER = getattr(yaml, "CSafeLoader", None)
LOADERS = [yaml.SafeLoader, *([C_LOADER] if C_LOADER else [])]

# What some reader of YAML 1.1, 1.2 or Go takes for something else than a string.
WORDS = [
    *("null", "Null", "NULL", "~", "", "true", "True", "TRUE", "false", "yes", "Yes", "no", "NO"),
    *(
        "on",
        "On",
        "off",
        "OFF",
        "y",
        "Y",
        "n",
        "N",
        "inf",
        ".inf",
        "-.inf",
        ".nan",
        "NaN",
        "=",
        "<<",
    ),
]
NUMBERS = [
    *(
        "1",
        "-1",
        "+1",
        "0",
        "00",
        "010",
        "0o17",
        "0x1F",
        "0b101",
        "1_000",
        "1.",
        ".5",
        "1.5",
        "-1.5",
    ),
    *(
        "1e5",
        "1E5",
        "1e+5",
        "1.5e-7",
        "12e4567",
        "12e03",
        "0e0",
        "1:30",
        "190:20:30",
        "1:30.5",
        "._1",
    ),
]
DATES = [
    "2009",
    "2009-01-02",
    "2009-1-2",
    "2009-01-02T03:04:05Z",
    "2009-01-02 03:04:05",
    "12:30:45",
]
INDICATORS = [
    *(
        "-",
        "- a",
        "-a",
        "?",
        "? a",
        ":",
        ": a",
        "a: b",
        "a:",
        ":a",
        "a #b",
        "#a",
        "a#b",
        "a,b",
        "[a]",
    ),
    *(
        "{a}",
        "{a: b}",
        "{{inputs.parameters.x}}",
        "&a",
        "*a",
        "!a",
        "!!str a",
        "|",
        ">",
        "%a",
        "@a",
    ),
    *("`a", "'", "''", "it's", '"', '"a"', "a'b\"c", "\\", "a\\nb", "---", "...", "--- a", "<<: a"),
]
BLANKS = [" ", "  ", " a", "a ", "a  b", "\t", "a\t", "\ta", "a\tb", "\u00a0", "a\u00a0", "\u3000a"]
CONTROLS = [
    *("\x00", "\x07", "\x1b[31m", "\x7f", "\x80", "\x85", "a\x85b", "\x9f", "\u2028", "a\u2029b"),
    *(
        "\ufeff",
        "\ufeffa",
        "a\ufeff",
        "\ufffe",
        "\uffff",
        "\r",
        "a\rb",
        "a\r\nb\r\n",
        "\x0b",
        "\x0c",
    ),
]
UNICODE = ["é", "été", "日本語", "🧪", "a🧪b", "e\u0301", "\u202eabc", "\u200b", "\U0010ffff"]
LINES = [
    *(
        "\n",
        "\n\n",
        "a\n",
        "a\n\n",
        "a\n\n\n",
        "\na",
        "\n\na\n",
        "a\nb",
        "a\n\nb\n",
        " a\nb",
        "  a\n b\n",
    ),
    *(
        "\n a\nb\n",
        "\ta\nb",
        "\n\n\t\na\n",
        "a\n \nb",
        "a\n   ",
        "a\n   \n",
        "a\n\t\n",
        "a \nb \n",
        " \n",
        "\n ",
    ),
    *(
        "---\na\n",
        "a\n---\n",
        "a\n...\n",
        "# a\nb\n",
        "- a\n- b\n",
        "a: b\nc: d\n",
        "{{a}}\n{b}\n",
        "%a\nb",
    ),
    *(
        "a\n\ufeffb\n",
        "a\n\x85b",
        "a\n\u2028b\n",
        "a\x00\nb",
        "a\r\n",
        "a\t\n",
        "é\n🧪\n",
        "a\n" * 50,
    ),
]
STRINGS = [
    *(*WORDS, *NUMBERS, *DATES, *INDICATORS, *BLANKS, *CONTROLS, *UNICODE, *LINES),
    *("x" * 5000, "x y " * 500, "x" * 900 + "\n" + "y" * 900),
]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 10**30, -(10**30), 0.0, 1.5, -2.25, 1e5, 1e16, 1e300, 1e-7, 5e-324),
    *([], {}, [[]], [{}], {"a": {}}, {"a": []}, [[], [[]]], [[1, [2, [3]]], [[4]]], [None, [None]]),
    *([{"a": 1, "b": [{"c": [{"d": "e\n"}]}]}], {"a": [["b\n c\n", ["  d\ne"]], "f"]}),
]


def readings(text: str) -> list[Any]:
    return [list(yaml.load_all(text, Loader=loader)) for loader in LOADERS]


def same(one: Any, other: Any) -> bool:
    """Compare as no reader could mistake: 1, 1.0 and True are three things."""
    return repr(one) == repr(other)


def test_a_workflow_reads_as_a_person_would_write_it():
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "solve-", "annotations": {"a.b/c": "yes", "on": "2009-01-02"}},
        "spec": {
            "arguments": {"parameters": [{"name": "n", "value": "12e4567"}, {"name": "empty"}]},
            "entrypoint": "main",
            "templates": [
                {
                    "name": "main",
                    "dag": {"tasks": [{"name": "a"}, {"name": "b", "depends": "a && !c"}]},
                },
                {
                    "name": "solve",
                    "script": {
                        "image": "python:3.12",
                        "command": ["python", "-u"],
                        "args": [],
                        "resources": {},
                        "source": "import json\n\nprint('{{inputs.parameters.n}}')\n",
                    },
                    "timeout": None,
                    "daemon": False,
                    "parallelism": 3,
                },
            ],
        },
    }
    assert document.dump([workflow]) == dedent(
        """\
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata:
          generateName: solve-
          annotations:
            a.b/c: 'yes'
            'on': '2009-01-02'
        spec:
          arguments:
            parameters:
            - name: 'n'
              value: '12e4567'
            - name: empty
          entrypoint: main
          templates:
          - name: main
            dag:
              tasks:
              - name: a
              - name: b
                depends: 'a && !c'
          - name: solve
            script:
              image: python:3.12
              command:
              - python
              - '-u'
              args: []
              resources: {}
              source: |
                import json

                print('{{inputs.parameters.n}}')
            timeout: null
            daemon: false
            parallelism: 3
        """
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("two words", "two words"),
        ("/data/a_b-1.csv", "/data/a_b-1.csv"),
        ("ghcr.io/a/b:1.4", "ghcr.io/a/b:1.4"),
        ("a=b", "a=b"),
        ("it's", "'it''s'"),
        ("{{a}}", "'{{a}}'"),
        ("a\tb", "'a\tb'"),
        ("été", "'été'"),
        ("a\x85b", '"a\\u0085b"'),
        ("\ufeff", '"\\ufeff"'),
        ("\n", '"\\n"'),
        ("a\r\nb", '"a\\r\\nb"'),
        ("a\nb", "|-\n  a\n  b"),
        ("a\nb\n", "|\n  a\n  b"),
        ("a\nb\n\n", "|+\n  a\n  b\n"),
        ("  a\nb\n", "|2\n    a\n  b"),
        ("\n a\nb", "|2-\n\n   a\n  b"),
        ("\ta\nb", "|2-\n  \ta\n  b"),
        (1e16, "1.0e+16"),
        (1e-7, "1.0e-07"),
        (10**30, "1" + 30 * "0"),
    ],
)
def test_a_value_has_one_text(value: Any, text: str):
    assert document.dump([{"key": value}]) == f"key: {text}\n"


def test_documents_stand_apart():
    assert document.dump([{"a": "b\n\n"}, {"c": 1}]) == "a: |+\n  b\n\n---\nc: 1\n"
    assert document.dump([]) == ""


def test_blocks_inside_nested_lists_are_indented_from_their_own_dash():
    nested = {"a": [["  b\nc\n", [{"d": " e\nf"}]]]}
    text = document.dump([nested])
    assert text == dedent(
        """\
        a:
        - - |2
              b
            c
          - - d: |2-
                 e
                f
        """
    )
    assert readings(text) == [[nested]] * len(LOADERS)


@pytest.mark.parametrize("string", STRINGS, ids=ascii)
def test_every_reader_gets_the_string_back(string: str):
    places = {
        "value": string,
        "item": [string, [string], {"deep": [string]}],
        "first": [{"key": string, "after": "x"}],
        "after": "x",
    }
    if len(string) < 1000:  # PyYAML and libyaml look no further for the colon of a key
        places[string] = "as a key"
    text = document.dump([places, {"key": string}])
    assert readings(text) == [[places, {"key": string}]] * len(LOADERS)
    assert document.load(text) == [places, {"key": string}]
    assert "\r" not in text
    assert "\x85" not in text


@pytest.mark.parametrize("string", [*WORDS, *NUMBERS, *DATES])
def test_what_a_reader_could_take_for_something_else_is_quoted(string: str):
    assert document.dump([{"key": string}]) == f"key: '{string}'\n"


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_every_reader_gets_the_value_back(value: Any):
    places = {"value": value, "item": [value, {"deep": value}], "after": "x"}
    text = document.dump([places])
    assert all(same(each, [places]) for each in readings(text))


def test_all_strings_in_one_document():
    everything = {f"k{number}": string for number, string in enumerate(STRINGS)}
    lists = {"all": [*STRINGS, [*STRINGS, {"more": STRINGS}]]}
    assert readings(document.dump([everything, lists])) == [[everything, lists]] * len(LOADERS)


def test_what_cannot_be_written_is_refused():
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="does not read back"):
            document.dump([{"key": value}])
    with pytest.raises(ValueError, match="does not read back"):
        document.dump([{"x" * 1100: 1}])


def test_the_canonical_form_is_sorted_json_without_blanks():
    value = {"b": [1, 1.5, None, True], "a": {"é": "\u2028\n", "d": {}}}
    text = '{"a":{"d":{},"é":"\u2028\\n"},"b":[1,1.5,null,true]}'
    assert document.canonical(value) == text.encode()


def test_the_digest_is_of_the_canonical_form():
    expected = hashlib.sha256(b'{"a":1,"b":2}').hexdigest()
    assert document.digest({"b": 2, "a": 1}) == f"sha256:{expected}"
    assert document.digest({"a": 1, "b": 2}) == f"sha256:{expected}"
    assert document.digest({"a": "1", "b": 2}) != f"sha256:{expected}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "\ud800"], ids=ascii)
def test_what_json_cannot_hold_has_no_digest(value: Any):
    with pytest.raises(ValueError, match=r"not JSON compliant|surrogates not allowed"):
        document.digest({"key": value})


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x\n",
        "a: &x\n  b: 1\nc:\n- *x\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "a: &a\n  b: *a\n",
    ],
)
def test_aliases_are_refused(text: str):
    with pytest.raises(ValueError, match="has an alias"):
        document.load(text)


@pytest.mark.parametrize(
    "text",
    ["a: !!python/name:os.system", "a: [", "a: b: c", "a: !x y", "a\x00b", "a: '\\", "{"],
)
def test_what_is_no_yaml_is_refused(text: str):
    with pytest.raises(ValueError, match="YAML"):
        document.load(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("? [a]\n: b\n", "a key that is no string"),
        ("? {a: 1}\n: b\n", "a key that is no string"),
        ("1: b\n", "a key that is no string"),
        ("on: b\n", "a key that is no string"),
        ("<<: {a: 1}", "a key that is no string"),
        ("a: !!python/object/apply:os.system [ls]", "the tag tag:yaml.org,2002:python/object"),
        ("a: !!set {b}", "the tag tag:yaml.org,2002:set"),
        ("[" * 100_000, "nested too deeply"),
        ("- " * 10_000 + "a", "nested too deeply"),
        ("\n".join(" " * depth + "a:" for depth in range(1000)), "nested too deeply"),
    ],
    ids=lambda text: text[:20],
)
def test_what_no_manifest_holds_is_refused(text: str, told: str):
    with pytest.raises(ValueError, match=told):
        document.load(text)


def test_a_hundred_levels_are_no_endless_depth():
    nested: Any = "bottom"
    for level in range(50):
        nested = {"a": [nested, level]}
    assert document.load(document.dump([nested])) == [nested]


def test_a_scalar_means_what_pyyaml_says():
    text = "[1, 0o17, 017, 1.5, 1e5, yes, ~, 2009-01-02, 1:30, '1', a, .inf]"
    assert document.load(text) == [yaml.safe_load(text)]


def test_whole_documents_read_back_whatever_stands_beside_what():
    # `dump` reads back scalars only: this is what shows that its lines hold together.
    draw = random.Random(20090102)

    def value(depth: int) -> Any:
        kind = draw.choice("sssdl" if depth < 6 else "s")
        if kind == "s":
            return draw.choice([*STRINGS, None, True, 0, 1.5])
        if kind == "l":
            return [value(depth + 1) for _ in range(draw.randrange(4))]
        return {draw.choice(keys): value(depth + 1) for _ in range(draw.randrange(5))}

    keys = [each for each in STRINGS if len(each) < 200]
    for _ in range(100):
        documents = [{"a": value(0), "b": value(1), "c": value(2)} for _ in range(2)]
        text = document.dump(documents)
        assert all(same(read, documents) for read in readings(text)), text
        assert same(document.load(text), documents)
