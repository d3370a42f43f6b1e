"""Notes each Hera object that is made, and what Hera would drop from it without a word."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import typing
from collections.abc import Iterable, Iterator
from types import FrameType, ModuleType
from typing import Any, NamedTuple

from heraci.compile_worker.record import Place, Record

_TEMPLATES = (
    *("Steps", "DAG", "Container", "Script", "ContainerSet"),
    *("HTTP", "Resource", "Suspend", "Data"),
)
_NODES = ("Task", "Step", "Parallel")


class Origin(NamedTuple):
    """Where an object was made.

    `module` is the file whose import or run made it, `direct` says that the author's own code did,
    and not a library.
    """

    file: str
    line: int
    module: str
    direct: bool


class Objects:
    """Every Hera object of the run that is worth a line: workflows, templates, steps and tasks."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.workflows: list[Any] = []  # in the order in which they were made
        self.origins: dict[int, Origin] = {}  # id of an object -> where it was made
        self.kept: list[Any] = []  # keeps them alive: an id must not be given out twice
        self.hera_folder = ""
        self.unfinished = False  # a `with Workflow(…)` was left by an exception

    def install(self, hera: ModuleType) -> None:
        """Be told of every object from now on."""
        self.hera_folder = os.path.dirname(os.path.dirname(hera.__file__ or "")) + os.sep
        workflow: Any = importlib.import_module("hera.workflows.workflow")
        _replace_new(workflow.Workflow, self._note_workflow)
        leave = workflow.Workflow.__exit__

        @functools.wraps(leave)
        def noted_leave(workflow: Any, *raised: Any) -> Any:
            self.unfinished = self.unfinished or raised[:1] not in ((), (None,))
            return leave(workflow, *raised)

        workflow.Workflow.__exit__ = noted_leave
        for name in (*_TEMPLATES, *_NODES):
            if hasattr(hera, name):
                _replace_new(getattr(hera, name), self._note)

    def forget(self) -> None:
        """Begin anew, after the objects that only warmed Hera up."""
        self.workflows.clear()
        self.origins.clear()
        self.kept.clear()

    def _note_workflow(self, created: Any, frame: FrameType | None) -> None:
        self._note(created, frame)
        self.workflows.append(created)

    def _note(self, created: Any, frame: FrameType | None) -> None:
        prefix = self.record.prefix
        direct = True
        while frame and not frame.f_code.co_filename.startswith(prefix):
            # What Hera makes for an author (from_yaml, a @script's Script) is the author's.
            direct = direct and frame.f_code.co_filename.startswith(self.hera_folder)
            frame = frame.f_back
        if frame is None:
            return
        self.kept.append(created)
        module: FrameType | None = frame
        while module and not (
            module.f_code.co_name == "<module>" and module.f_code.co_filename.startswith(prefix)
        ):
            module = module.f_back
        running = module.f_code.co_filename if module else self.record.entry
        place = (frame.f_code.co_filename, frame.f_lineno)
        self.origins[id(created)] = Origin(*place, running, direct)

    def claim(self, workflow: Any, place: Place, module: str) -> None:
        """Count a workflow as one that the author's own code made, in a module at a place."""
        self.kept.append(workflow)
        self.origins[id(workflow)] = Origin(*place, module, True)

    def place_of(self, created: Any) -> Place | None:
        """Give the line of an object: where its function begins, else where it was made."""
        function = getattr(created, "source", None)
        code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
        if code is not None and code.co_filename.startswith(self.record.prefix):
            return (code.co_filename, code.co_firstlineno)
        origin = self.origins.get(id(created))
        return (origin.file, origin.line) if origin else None

    def place_with(self, workflow: Any, field: str, value: str) -> Place | None:
        """Find the object that holds the value which pydantic complains of."""
        wanted = value.rstrip(".")[:40]
        for each in (workflow, *self.kept):
            held = getattr(each, field, None)
            if held is not None and repr(held)[:40].startswith(wanted):
                return self.place_of(each)
        return None

    def sources(self, workflow: Any) -> dict[str, str]:
        """Give `file:line` of the workflow, of its templates and of their steps and tasks."""
        sources = {}
        for name, created in _named_parts(workflow):
            where = self.record.shown(self.place_of(created))
            if where:
                sources[name] = where
        return sources


class Fields:
    """Reports a field that one of Hera's generated models does not have and would drop."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.known: dict[type, dict[str, Any]] = {}
        self.base: Any = None

    def install(self) -> None:
        """Look at what an author gives to a model, and at YAML that becomes a workflow."""
        self.base = _model_base()
        if self.base is None:
            return
        original = self.base.__init__

        @functools.wraps(original)
        def checked(model: Any, *args: Any, **data: Any) -> None:
            frame = sys._getframe(1)
            if frame.f_code.co_filename.startswith(self.record.prefix):
                self._check(type(model), data, (frame.f_code.co_filename, frame.f_lineno))
            original(model, *args, **data)

        self.base.__init__ = checked
        mapper = _mapper()
        from_dict = vars(mapper).get("_from_dict") if mapper else None
        if from_dict is None:
            return

        @functools.wraps(from_dict.__func__)
        def checked_from_dict(kind: Any, data: Any, model: Any) -> Any:
            if isinstance(data, dict):
                self._check(model, data, self.record.caller())
            return from_dict.__func__(kind, data, model)

        mapper._from_dict = classmethod(checked_from_dict)

    def _check(self, model: Any, data: dict[Any, Any], place: Place | None) -> None:
        fields = self.known.get(model)
        if fields is None:
            fields = self.known[model] = _field_names(model)
        for name, value in data.items():
            if name not in fields:
                if isinstance(name, str):
                    self._report(model.__name__, name, fields, place)
            elif isinstance(value, (dict, list)):
                for nested, item in self._nested(fields[name], value):
                    self._check(nested, item, place)

    def _nested(self, annotation: Any, value: Any) -> Iterator[tuple[Any, dict[Any, Any]]]:
        """Give the plain dicts inside a value, each with the model that it will become."""
        origin, args = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is None:
            is_model = isinstance(annotation, type) and issubclass(annotation, self.base)
            if is_model and isinstance(value, dict):
                yield annotation, value
        elif origin is list:
            for each in value if isinstance(value, list) else ():
                yield from self._nested(args[0], each)
        elif origin is dict:
            for each in value.values() if isinstance(value, dict) else ():
                yield from self._nested(args[-1], each)
        else:  # Optional, Annotated; of a Union's models nobody knows which one is meant
            found = [each for part in args for each in self._nested(part, value)]
            if len({model for model, _ in found}) == 1:
                yield from found

    def _report(self, model: str, name: str, fields: Iterable[str], place: Place | None) -> None:
        import difflib

        near = difflib.get_close_matches(name, sorted(fields), 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        message = f"{model} has no field {name}: Hera drops it without a word.{hint}"
        self.record.find("unknown-field", "error", message, place)


class Templates:
    """Reports a second template of a name already taken, which Hera drops without a word."""

    def __init__(self, record: Record, objects: Objects) -> None:
        self.record = record
        self.objects = objects
        self.seen: set[tuple[int, int]] = set()

    def install(self) -> None:
        """Look at each step and task as it joins a workflow."""
        try:
            context: Any = importlib.import_module("hera.workflows._context")._context
        except (ImportError, AttributeError):
            return
        kind: Any = type(context)
        original = kind.add_sub_node

        @functools.wraps(original)
        def add(context: Any, node: Any) -> Any:
            pieces = context.pieces if hasattr(context, "pieces") else context._pieces
            template = getattr(node, "template", None)
            if not pieces or template is None or isinstance(template, str):
                return original(context, node)
            workflow = pieces[0]
            known = getattr(workflow, "templates", None) or ()
            count = len(known)
            self._compare(workflow, template, known)
            added = original(context, node)
            if len(known) > count:
                # Hera adds a copy, made where it is first used; its line is the original's.
                self._inherit(known[count], template)
            return added

        kind.add_sub_node = add

    def _inherit(self, copy: Any, template: Any) -> None:
        origin = self.objects.origins.get(id(template))
        if origin is not None:
            self.objects.origins[id(copy)] = origin
            self.objects.kept.append(copy)

    def _compare(self, workflow: Any, template: Any, known: Iterable[Any]) -> None:
        name = getattr(template, "name", None)
        key = (id(workflow), id(template))
        if name is None or key in self.seen:
            return
        self.seen.add(key)
        self.objects.kept.append(template)
        other = next((each for each in known if getattr(each, "name", None) == name), None)
        if other is not None and not _is_same(template, other):
            message = (
                f"a second template named {name}: Hera keeps the first and drops this one. "
                "Give it another name."
            )
            self.record.find("template-dropped", "error", message, self.objects.place_of(template))


def _is_same(template: Any, other: Any) -> bool:
    source, others = getattr(template, "source", None), getattr(other, "source", None)
    if source is not None or others is not None:
        return source is others or source == others
    return bool(other is template or other == template)


def _replace_new(kind: Any, note: typing.Callable[[Any, FrameType | None], None]) -> None:
    """Have `note` told of a class's objects; `__new__` is what all of Hera's versions share."""

    def __new__(cls: Any, *args: Any, **options: Any) -> Any:  # noqa: N807
        created = object.__new__(cls)
        note(created, sys._getframe(1))
        return created

    kind.__new__ = __new__


def _named_parts(workflow: Any) -> Iterator[tuple[str, Any]]:
    """Give a workflow, its templates and their nodes by the names that the bundle has for them."""
    yield "", workflow
    for template in getattr(workflow, "templates", None) or ():
        name = getattr(template, "name", None)
        if not name:
            continue
        yield name, template
        for node in _nodes(template):
            if getattr(node, "name", None):
                yield f"{name}/{node.name}", node


def _nodes(template: Any) -> Iterator[Any]:
    """Give the tasks of a DAG or the steps of Steps, those of parallel groups too."""
    for attribute in ("tasks", "sub_steps", "workflow_steps"):
        for node in getattr(template, attribute, None) or ():
            if getattr(node, "sub_steps", None) is not None:
                yield from node.sub_steps
            else:
                yield node


def _model_base() -> Any:
    """Find the class that all of Hera's generated models derive from."""
    for module, name in (
        ("hera.shared._pydantic", "APIBaseModel"),
        ("hera.shared._pydantic", "BaseModel"),
        ("hera.shared._base_model", "BaseModel"),
    ):
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    return None


def _mapper() -> Any:
    for module in ("hera.workflows._meta_mixins", "hera.workflows._mixins"):
        try:
            return importlib.import_module(module).ModelMapperMixin
        except (ImportError, AttributeError):
            continue
    return None


def _field_names(model: Any) -> dict[str, Any]:
    """Give the names that a model takes, and its aliases, each with the field's annotation."""
    fields = getattr(model, "model_fields", None) or getattr(model, "__fields__", {})
    names: dict[str, Any] = {}
    for name, field in fields.items():
        annotation = getattr(field, "outer_type_", None) or getattr(field, "annotation", None)
        names[name] = names[getattr(field, "alias", None) or name] = annotation
    if "root" in names or "__root__" in names:
        names.setdefault("__root__", None)
    return names
