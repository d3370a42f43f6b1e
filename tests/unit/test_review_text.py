"""How data becomes harmless, and stays readable."""

from __future__ import annotations

import pytest

from heraci.review.text import Code, clean, clean_block, prose


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12 → 48 items (+36); x 7 values", ["12 → 48 items (+36); x 7 values"]),
        ("It's 50% of 3.5, isn't it?", ["It's 50% of 3.5, isn't it?"]),
        ("use `pip install x` here", ["use ", Code("pip install x"), " here"]),
        ("@a, then @b.", [Code("@a"), ", then ", Code("@b"), "."]),
        ("may import (at a/b.py:260); c/mesh.py changed",
         ["may import (at ", Code("a/b.py:260"), "); ", Code("c/mesh.py"), " changed"]),
        ("call f(x_1) twice", ["call ", Code("f(x_1)"), " twice"]),
        ("*a* _b_ c", [Code("*a* _b_"), " c"]),
        ("- a", [Code("-"), " a"]),
        ("a - b", ["a - b"]),
        ("1. a", [Code("1"), ". a"]),
        ("see ::", ["see ", Code("::")]),
        ("commit 0a1b2c3d", ["commit ", Code("0a1b2c3d")]),
        ("a ` b", ["a ", Code("`"), " b"]),
        ("", []),
    ],
)  # fmt: skip
def test_prose_keeps_its_words_and_makes_code_of_the_rest(text, expected):
    assert list(prose(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n\tb  c ", "a b c"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202ea\u2069", "\\u202ea\\u2069"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\ue0041"),
        ("é 漢 😀", "é 漢 😀"),
    ],
)
def test_what_cannot_be_seen_is_written_as_an_escape(text, expected):
    assert clean(text) == expected


def test_a_text_that_is_too_long_says_so():
    assert clean("word " * 10, 12) == "word word w…"


def test_a_block_keeps_its_lines_and_tabs():
    assert clean_block("a\n\tb\r\n\x07") == "a\n\tb\\x0d\n\\x07"
