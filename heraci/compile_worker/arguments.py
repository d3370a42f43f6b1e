"""Gives an author's own parser the arguments that it declares and heraci was told."""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from heraci.compile_worker.after_import import AfterImport

# An argument of this name is the whole command line, for scripts that read sys.argv themselves.
_WHOLE = "argv"


class Arguments:
    """The arguments of one experiment, and what its parser said of them."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.refusal: str | None = None
        self.parsing: list[Any] = []  # the parsers at work, the outermost first

    def install(self, after_import: AfterImport) -> None:
        """Watch argparse, and the parsers that are built on it or beside it."""
        self._watch_argparse(argparse.ArgumentParser)
        original = argparse.ArgumentParser.error

        def error(parser: argparse.ArgumentParser, message: str) -> None:
            self.refusal = message
            original(parser, message)

        argparse.ArgumentParser.error = error  # type: ignore[method-assign, assignment]
        after_import.watch("configargparse", self._watch_configargparse)
        after_import.watch("click.core", self._watch_click)

    def prepare(self, entry: str, given: Mapping[str, Any]) -> None:
        """Say which arguments there are, before the script runs."""
        given = dict(given)
        line = given.pop(_WHOLE, ())
        sys.argv = [entry, *(shlex.split(line) if isinstance(line, str) else map(str, line))]
        self.given = {_plain(name): value for name, value in given.items()}

    def _watch_argparse(self, kind: Any) -> None:
        original = kind.parse_known_args

        @functools.wraps(original)
        def parse(parser: Any, args: Any = None, *rest: Any, **options: Any) -> Any:
            # A parser of a subcommand works inside its parent's; ConfigArgParse's calls itself.
            is_new = not self.parsing or all(each is not parser for each in self.parsing)
            if args is None or list(args) == sys.argv[1:] or (self.parsing and is_new):
                given = list(sys.argv[1:] if args is None else args)
                args = self._extended(parser, given) if is_new else given
            self.parsing.append(parser)
            try:
                return original(parser, args, *rest, **options)
            finally:
                self.parsing.pop()

        kind.parse_known_args = parse

    def _extended(self, parser: Any, given: list[str]) -> list[str]:
        """Add what heraci was told, in an order that no option swallows a positional argument."""
        if not self.given:
            return given
        positional: list[str] = []
        options: list[str] = []
        command: list[str] = []
        for action in parser._actions:
            names = [_plain(each) for each in (*action.option_strings, action.dest)]
            found = next((name for name in names if name in self.given), None)
            if found is None:
                continue
            words = _words(action, found, self.given[found])
            if isinstance(action, argparse._SubParsersAction):
                command += words
            elif action.option_strings:
                options += words
            else:
                positional += words
        return [*given, *positional, *options, *command]

    def _watch_configargparse(self, module: ModuleType) -> None:
        """Do as heraci's settings do: a key of a shared hera.config may be another script's."""
        kind: Any = module.ArgumentParser
        self._watch_argparse(kind)
        original = kind.parse_known_args

        @functools.wraps(original)
        def parse(parser: Any, *args: Any, **options: Any) -> Any:
            parser._ignore_unknown_config_file_keys = True
            return original(parser, *args, **options)

        kind.parse_known_args = parse

    def _watch_click(self, module: ModuleType) -> None:
        kind: Any = module.Command
        original = kind.main

        @functools.wraps(original)
        def run(command: Any, args: Any = None, *rest: Any, **options: Any) -> Any:
            if self.given:
                options.setdefault("default_map", self._defaults(command))
            return original(command, args, *rest, **options)

        kind.main = run

    def _defaults(self, command: Any) -> dict[str, Any]:
        """Give a click command's defaults; those of its subcommands lie under their names."""
        commands = getattr(command, "commands", None) or {}
        inside = {name: self._defaults(each) for name, each in commands.items()}
        own = {}
        for parameter in getattr(command, "params", ()):
            names = [_plain(each) for each in (*parameter.opts, parameter.name or "")]
            found = next((name for name in names if name in self.given), None)
            if found is not None:
                own[parameter.name] = self.given[found]
        return {**own, **inside}


def _plain(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()


def _words(action: Any, name: str, value: Any) -> list[str]:
    """Write a value from the settings as the words of a command line that the action reads."""
    flags = list(action.option_strings)
    if not flags:
        return [str(each) for each in value] if isinstance(value, (list, tuple)) else [str(value)]
    if action.nargs == 0:
        return _switch(action, name, value)
    if not isinstance(value, (list, tuple)):
        # In one word, for a value may begin with a dash; a short option has no such form.
        long = flags[-1].startswith("--")
        return [f"{flags[-1]}={value}"] if long else [flags[-1], str(value)]
    if isinstance(action, argparse._AppendAction) and action.nargs is None:
        return [word for each in value for word in (flags[-1], str(each))]
    return [flags[-1], *(str(each) for each in value)]


def _switch(action: Any, name: str, value: Any) -> list[str]:
    """Write an option that takes no value, given by its own name or by what it sets."""
    flags = list(action.option_strings)
    if isinstance(action, argparse._CountAction) and isinstance(value, int):
        return flags[:1] * value
    wanted = value in (True, 1) or str(value).lower() in ("true", "1", "yes", "on")
    negative = [each for each in flags if each.startswith("--no-")]
    if negative and len(negative) < len(flags):
        return [next(each for each in flags if each not in negative)] if wanted else negative[:1]
    if isinstance(action, argparse._StoreFalseAction) and name not in map(_plain, flags):
        wanted = not wanted
    return flags[:1] if wanted else []
