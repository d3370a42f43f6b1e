"""The classes that authors derive their experiments from: inputs, layout, environment, workflow.

This file and `heraci/__init__.py` are also laid alone on the path of an experiment's own Python
(3.10 or later, with any pydantic 2 and any Hera from 6 on). So it imports nothing else of heraci,
reads no file, asks no server, and imports Hera only inside the methods that return its objects.
Which values hold on this run is resolved elsewhere and arrives here as plain data: `configure`.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

if TYPE_CHECKING:
    from hera.workflows import (
        ConfigMapEnv,
        ConfigMapEnvFrom,
        ConfigMapVolume,
        ExistingVolume,
        SecretEnv,
        SecretEnvFrom,
        SecretVolume,
        Volume,
        Workflow,
    )
    from hera.workflows.models import VolumeMount

COMMIT = "heraci-commit-marker-replaced-by-the-sha"
"""Stands for the full commit SHA until `heraci submit` puts it in.

Write it where a manifest should carry the commit: `image=f"registry.example/solver:{COMMIT}"`, a
label, a memoization key, an output path. The manifest that is reviewed holds the marker, so its
digest does not change from one commit to the next. The marker is as long as a SHA (40 characters)
and takes none but lower-case letters and dashes, a letter at both ends: what is valid with it (an
image tag, a label's value, an object's name) stays valid and as long with the SHA. Use it whole; a
part of it (`COMMIT[:7]`) is only a piece of text.
"""

AccessMode = Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUANTITY = re.compile(r"\d+(\.\d+)?([KMGTPE]i?|k|m)?")


class ExperimentError(Exception):
    """The experiment is not written as heraci expects it; the message says how to put it right.

    `file` and `line` say where, as far as that is known.
    """

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.file = file
        self.line = line


# --- What the cluster holds ----------------------------------------------------------------------


class Resource(BaseModel):
    """Something that a cluster holds under a name, and that an experiment needs.

    As a field of an `Environment` it takes its name from heraci's settings, else from `name`, else
    from the field itself, with dashes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    api_version: ClassVar[str] = "v1"

    name: str = ""

    # The field of the environment: a volume's name inside the pod is made of it, so that a manifest
    # differs in one place only when a cluster calls the resource otherwise.
    _field: str = PrivateAttr(default="")

    @field_validator("name")
    @classmethod
    def _name_is_one_that_kubernetes_takes(cls, name: str) -> str:
        if name and (len(name) > 253 or not _NAME.fullmatch(name)):
            raise ValueError(
                f"{name!r} is no name of a {cls.kind}: Kubernetes takes lower-case letters, digits,"
                " dashes and dots, at most 253"
            )
        return name

    def __str__(self) -> str:
        return self.name

    @property
    def _volume_name(self) -> str:
        return _dashed(self._field or self.name).replace(".", "-")

    def _called(self) -> str:
        return f"the {type(self).__name__} {self._field or self.name!r}"


class VolumeClaim(Resource):
    """A persistent volume claim that exists on the cluster, where results outlive the workflow.

    `mount_path` is where containers see it, `access` the mode that the claim must offer, `storage`
    the size (`"10Gi"`) that it must have at least.
    """

    kind: ClassVar[str] = "PersistentVolumeClaim"

    mount_path: str = ""
    access: AccessMode | None = None
    storage: str | None = None
    read_only: bool = False

    @field_validator("mount_path")
    @classmethod
    def _mount_path_is_absolute(cls, path: str) -> str:
        return _absolute(path)

    @field_validator("storage")
    @classmethod
    def _storage_is_a_quantity(cls, storage: str | None) -> str | None:
        if storage is not None and not _QUANTITY.fullmatch(storage):
            raise ValueError(f'{storage!r} is no amount of storage; write for example "10Gi"')
        return storage

    def path(self, *parts: object) -> str:
        """Where a file or folder of the volume is seen inside a container."""
        return str(PurePosixPath(self._mounted_at(""), *(str(part).lstrip("/") for part in parts)))

    def volume(self, *, mount_path: str = "", sub_path: str | None = None) -> ExistingVolume:
        """For `volumes=[…]` of a container or script: declares the volume and mounts it."""
        from hera.workflows import ExistingVolume

        return ExistingVolume(
            name=self._volume_name,
            claim_name=self.name,
            mount_path=self._mounted_at(mount_path),
            sub_path=sub_path,
            read_only=self.read_only or None,
        )

    def volume_mount(self, *, mount_path: str = "", sub_path: str | None = None) -> VolumeMount:
        """For `volume_mounts=[…]`, where the workflow itself has the `volume()`."""
        return _volume_mount(
            self._volume_name, self._mounted_at(mount_path), sub_path, read_only=self.read_only
        )

    def _mounted_at(self, given: str) -> str:
        return _mount_path(self, given or self.mount_path)


class _Keyed(Resource):
    """What holds values under keys. `keys` are those that the experiment reads."""

    keys: tuple[str, ...] = ()
    mount_path: str = ""
    optional: bool = False

    @field_validator("mount_path")
    @classmethod
    def _mount_path_is_absolute(cls, path: str) -> str:
        return _absolute(path)

    def volume_mount(self, *, mount_path: str = "", sub_path: str | None = None) -> VolumeMount:
        """For `volume_mounts=[…]`, where the workflow itself has the `volume()`."""
        where = _mount_path(self, mount_path or self.mount_path)
        return _volume_mount(self._volume_name, where, sub_path)

    def _declared(self, key: str) -> str:
        if self.keys and key not in self.keys:
            raise ExperimentError(
                f"{self._called()} does not declare the key {key!r}{_nearest(key, self.keys)};"
                f" add it to keys=[…], so that heraci asserts it"
            )
        return key


class ConfigMap(_Keyed):
    """A ConfigMap of the cluster, for its values as variables or files."""

    kind: ClassVar[str] = "ConfigMap"

    @property
    def _volume_name(self) -> str:
        # Hera's ConfigMapVolume has one name for both.
        return self.name

    def env_from(self, *, prefix: str | None = None) -> ConfigMapEnvFrom:
        """For `env_from=[…]`: each of its keys becomes a variable."""
        from hera.workflows import ConfigMapEnvFrom

        return ConfigMapEnvFrom(name=self.name, prefix=prefix, optional=self.optional or None)

    def env(self, key: str, *, variable: str | None = None) -> ConfigMapEnv:
        """For `env=[…]`: one key as one variable, of the same name unless `variable` says."""
        from hera.workflows import ConfigMapEnv

        return ConfigMapEnv(
            name=variable or key,
            config_map_name=self.name,
            config_map_key=self._declared(key),
            optional=self.optional or None,
        )

    def volume(self, *, mount_path: str = "") -> ConfigMapVolume:
        """For `volumes=[…]`: each of its keys becomes a file under the mount path."""
        from hera.workflows import ConfigMapVolume

        return ConfigMapVolume(
            name=self._volume_name,
            mount_path=_mount_path(self, mount_path or self.mount_path),
            optional=self.optional or None,
        )


class Secret(_Keyed):
    """A Secret of the cluster, for its values as variables or files. heraci never reads them."""

    kind: ClassVar[str] = "Secret"

    def env_from(self, *, prefix: str | None = None) -> SecretEnvFrom:
        """For `env_from=[…]`: each of its keys becomes a variable."""
        from hera.workflows import SecretEnvFrom

        return SecretEnvFrom(name=self.name, prefix=prefix, optional=self.optional or None)

    def env(self, key: str, *, variable: str | None = None) -> SecretEnv:
        """For `env=[…]`: one key as one variable, of the same name unless `variable` says."""
        from hera.workflows import SecretEnv

        return SecretEnv(
            name=variable or key,
            secret_name=self.name,
            secret_key=self._declared(key),
            optional=self.optional or None,
        )

    def volume(self, *, mount_path: str = "") -> SecretVolume:
        """For `volumes=[…]`: each of its keys becomes a file under the mount path."""
        from hera.workflows import SecretVolume

        return SecretVolume(
            name=self._volume_name,
            secret_name=self.name,
            mount_path=_mount_path(self, mount_path or self.mount_path),
            optional=self.optional or None,
        )


class ServiceAccount(Resource):
    """The account that pods run under: `Workflow(service_account_name=environment.runner.name)`."""

    kind: ClassVar[str] = "ServiceAccount"


class ImagePullSecret(Resource):
    """The Secret that opens a private registry, for `image_pull_secrets=[environment.hub.name]`."""

    kind: ClassVar[str] = "Secret"


class StorageClass(Resource):
    """A kind of storage that the cluster offers, for volumes that live as long as one workflow."""

    kind: ClassVar[str] = "StorageClass"
    api_version: ClassVar[str] = "storage.k8s.io/v1"

    access: AccessMode = "ReadWriteOnce"
    mount_path: str = ""

    @field_validator("mount_path")
    @classmethod
    def _mount_path_is_absolute(cls, path: str) -> str:
        return _absolute(path)

    def volume(self, size: str, *, name: str = "", mount_path: str = "") -> Volume:
        """For `volumes=[…]` of the workflow: a fresh claim of that size, gone with the workflow."""
        from hera.workflows import Volume

        return Volume(
            name=name or self._volume_name,
            size=size,
            storage_class_name=self.name,
            access_modes=[self.access],
            mount_path=_mount_path(self, mount_path or self.mount_path),
        )

    def volume_mount(
        self, *, name: str = "", mount_path: str = "", sub_path: str | None = None
    ) -> VolumeMount:
        """For `volume_mounts=[…]` of the containers that share the workflow's `volume()`."""
        where = _mount_path(self, mount_path or self.mount_path)
        return _volume_mount(name or self._volume_name, where, sub_path)


# --- The four parts of an experiment -------------------------------------------------------------


class Environment(BaseModel):
    """What the experiment needs of the cluster: each field a resource, or a plain value.

    The target's table in `heraci.toml` says what a resource is called there; nothing in the code
    changes from one cluster to the next. A field that a cluster may lack is `X | None`: `false` in
    the target's table, or `None` as its default, leaves it out.
    """

    # Resources without an annotation are let through to the check below, for a better message.
    model_config = ConfigDict(
        frozen=True, extra="forbid", ignored_types=(Resource,), protected_namespaces=()
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, value in vars(cls).items():
            if isinstance(value, Resource) and name not in cls.model_fields:
                kind = type(value).__name__
                raise ExperimentError(
                    f"{cls.__name__}.{name} has no type: write `{name}: {kind} = {kind}(…)`"
                )
        for name, declared in cls.model_fields.items():
            _default_fits(cls, name, declared.annotation, declared.default)

    @model_validator(mode="before")
    @classmethod
    def _name_the_resources(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        values = dict(given)
        for name, declared in cls.model_fields.items():
            if _resource_type(declared.annotation):
                default = declared.get_default(call_default_factory=True)
                values[name] = _resource_values(name, default, values.get(name))
        return values

    @model_validator(mode="after")
    def _tell_each_resource_its_field(self) -> Environment:
        for name, resource in self:
            if isinstance(resource, Resource):
                resource._field = name
        return self


class Inputs(BaseModel):
    """What the experiment is run with: each field an input with its default.

    `heraci.toml` (`[experiments.NAME.inputs]`) and `--set name=value` override the defaults.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), arbitrary_types_allowed=True
    )


class Layout:
    """Where the experiment puts what it makes: methods that return paths, and nothing else.

    It knows neither the inputs nor the environment: what a path depends on is an argument.
    """


class Experiment:
    """One experiment. Annotate the parts that it has, and write `workflow`.

    `environment: MyEnvironment`, `inputs: MyInputs` and `layout: MyLayout` in the class say which
    classes to use; heraci fills them and they are there as `self.environment` and so on. A class
    whose name begins with an underscore is a base for others and is not compiled.

    It is no pydantic model: constants of the class and attributes set in `__init__` are ordinary.
    """

    environment: Environment
    inputs: Inputs
    layout: Layout

    _source: ClassVar[tuple[str, int]] = ("", 0)
    _known: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # The frame of the class statement, while it is there: a file that was run as __main__ can
        # be asked neither for its lines nor for its names afterwards.
        caller = sys._getframe(1)
        cls._source = (caller.f_code.co_filename, caller.f_lineno)
        at_module_level = caller.f_locals is caller.f_globals
        cls._known = (
            caller.f_globals if at_module_level else {**caller.f_globals, **caller.f_locals}
        )

    def __init__(self) -> None:
        cls = type(self)
        self.environment = _filled_environment(cls)
        self.inputs = _filled_inputs(cls)
        self.layout = _made_layout(cls)

    def __getattr__(self, name: str) -> Any:
        if name in _PARTS:
            raise _error(
                type(self),
                f"{type(self).__name__} uses self.{name} before it is there: call"
                " super().__init__() first in __init__",
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def name(self) -> str:
        """The experiment's name as heraci knows it; by default its class's name with dashes."""
        return _configured.experiment or _dashed_words(type(self).__name__)

    def workflow(self) -> Workflow | Iterable[Workflow]:
        """What to run: one of Hera's workflows, templates or crons, or several."""
        raise _error(
            type(self),
            f"{type(self).__name__} has no workflow: write a method `def workflow(self)` that"
            " returns one of Hera's workflows",
        )

    def to_yaml(self) -> str:
        """Hera's own YAML, for a look at it by hand: `print(MyExperiment().to_yaml())`."""
        return "---\n".join(str(each.to_yaml()) for each in build(self))


_PARTS: Mapping[str, type[Environment | Inputs | Layout]] = {
    "environment": Environment,
    "inputs": Inputs,
    "layout": Layout,
}

_Part = TypeVar("_Part", Environment, Inputs)
_AnyPart = TypeVar("_AnyPart", Environment, Inputs, Layout)
_Whole = TypeVar("_Whole", bound=Experiment)


# --- For the process that runs an author's file --------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Configuration:
    experiment: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    own_environment: Mapping[str, Any] = field(default_factory=dict)


_configured = _Configuration()


def configure(
    *,
    experiment: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    own_environment: Mapping[str, Any] | None = None,
) -> None:
    """Set, for this process, what experiments are filled with; call it before the author's file.

    `inputs` must be declared by the experiment. `arguments` (`--set name=value`) win over them, and
    what is no input is passed over, for they are also for parsers of an author's own.
    `environment` is the target's table for all experiments: what a class does not declare is passed
    over. `own_environment` is for this experiment alone, wins, and must be declared. Without
    arguments everything is at its default again.
    """
    global _configured  # noqa: PLW0603 - one experiment, one process
    _configured = _Configuration(
        experiment=experiment,
        inputs=dict(inputs or {}),
        arguments={name.replace("-", "_"): each for name, each in (arguments or {}).items()},
        environment=dict(environment or {}),
        own_environment=dict(own_environment or {}),
    )


def experiments_in(namespace: Mapping[str, Any], module: str) -> list[type[Experiment]]:
    """The experiments that a module itself defines, in the order of definition.

    Left out: what it imports, abstract classes, names with a leading underscore, and a class
    without a `workflow` that another of them derives from.
    """
    found = [
        value
        for value in dict.fromkeys(each for each in namespace.values() if inspect.isclass(each))
        if issubclass(value, Experiment) and value.__module__ == module
    ]
    return [each for each in found if not _is_base(each, found)]


def instantiate(cls: type[_Whole]) -> _Whole:
    """The experiment with its parts filled from what was configured."""
    try:
        experiment = cls()
    except TypeError as error:
        if "__init__() missing" not in str(error):
            raise
        raise _error(
            cls, f"{cls.__name__}.__init__ must take no argument but self; make it an input"
        ) from error
    for part in _PARTS:
        if part not in vars(experiment):
            raise _error(cls, f"{cls.__name__}.__init__ does not call super().__init__()")
    return experiment


def build(experiment: Experiment | type[Experiment]) -> list[Workflow]:
    """What `workflow` returns, as a list of Hera's workflows."""
    if isinstance(experiment, type):
        experiment = instantiate(experiment)
    if not callable(experiment.workflow):
        cls = type(experiment)
        raise _error(cls, f"{cls.__name__}.workflow must be a method: `def workflow(self)`")
    returned: Any = experiment.workflow()
    many = isinstance(returned, (list, tuple, Iterator))
    several: list[Any] = list(returned) if many else [returned]
    if not several:
        raise _error_in_workflow(experiment, "returns nothing to run: an empty list")
    for each in several:
        _must_be_a_workflow(experiment, each)
    return several


def requirements_of(experiment: Experiment) -> list[dict[str, Any]]:
    """The cluster resources of the experiment's environment, as plain data."""
    environment = experiment.environment
    fields = ((name, getattr(environment, name)) for name in type(environment).model_fields)
    return [_requirement(name, each) for name, each in fields if isinstance(each, Resource)]


def _requirement(name: str, resource: Resource) -> dict[str, Any]:
    claim = resource if isinstance(resource, VolumeClaim) else VolumeClaim()
    keyed = resource if isinstance(resource, _Keyed) else _Keyed()
    return {
        "kind": resource.kind,
        "api_version": resource.api_version,
        "name": resource.name,
        "keys": list(keyed.keys),
        "access": [claim.access] if claim.access else [],
        "storage": claim.storage,
        "optional": keyed.optional,
        "field": name,
    }


def _is_base(cls: type[Experiment], among: list[type[Experiment]]) -> bool:
    if cls.__name__.startswith("_") or inspect.isabstract(cls):
        return True
    has_none = cls.workflow is Experiment.workflow
    return has_none and any(other is not cls and issubclass(other, cls) for other in among)


def _must_be_a_workflow(experiment: Experiment, returned: Any) -> None:
    from hera.workflows import Workflow

    if isinstance(returned, Workflow):
        return
    if returned is None:
        raise _error_in_workflow(
            experiment, "returns None; end it with `return w`, the workflow it made"
        )
    raise _error_in_workflow(
        experiment, f"returns {_described(returned)}; it must return one of Hera's workflows"
    )


def _described(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


# --- Filling the parts ---------------------------------------------------------------------------


def _filled_environment(cls: type[Experiment]) -> Environment:
    part = _part_of(cls, "environment", Environment)
    own = _configured.own_environment
    _refuse_unknown(cls, "environment field", part, own)
    shared = {
        name: each for name, each in _configured.environment.items() if name in part.model_fields
    }
    return _filled(cls, "environment", part, {**shared, **own})


def _filled_inputs(cls: type[Experiment]) -> Inputs:
    part = _part_of(cls, "inputs", Inputs)
    _refuse_unknown(cls, "input", part, _configured.inputs)
    arguments = _configured.arguments
    set_by_hand = {name: each for name, each in arguments.items() if name in part.model_fields}
    return _filled(cls, "inputs", part, {**_configured.inputs, **set_by_hand})


def _made_layout(cls: type[Experiment]) -> Layout:
    value = getattr(cls, "layout", None)
    if isinstance(value, Layout):
        return value
    part = _part_of(cls, "layout", Layout)
    try:
        return part()
    except TypeError as error:
        raise _error(
            cls,
            f"{part.__name__} must be made without arguments ({error}); what its paths depend on is"
            " an argument of its methods",
        ) from error


def _filled(cls: type[Experiment], name: str, part: type[_Part], given: Mapping[str, Any]) -> _Part:
    """An instance of the part: the given values over those of the class, over the defaults."""
    declared = getattr(cls, name, None)
    values = dict(declared) if isinstance(declared, part) else {}
    values |= {each: _read(part, each, value) for each, value in given.items()}
    try:
        return part(**values)
    except ValidationError as error:
        raise _error(cls, _told(cls, name, error)) from None


def _read(part: type[BaseModel], name: str, value: Any) -> Any:
    """The value itself, or what its text says where only that fits: `--set` knows text alone."""
    is_text_alone = isinstance(value, str) and not _resource_type(
        part.model_fields[name].annotation
    )
    if not is_text_alone or _fits(part, name, value):
        return value
    return next((each for each in _readings(value) if _fits(part, name, each)), value)


def _readings(text: str) -> Iterator[Any]:
    with contextlib.suppress(ValueError):
        yield json.loads(text)
    yield [each.strip() for each in text.split(",")]


def _fits(part: type[BaseModel], name: str, value: Any) -> bool:
    try:
        part.model_validate({name: value})
    except ValidationError as error:
        # Others may be missing; only what is said of this one counts.
        return all(each["loc"][:1] != (name,) for each in error.errors())
    return True


def _part_of(cls: type[Experiment], name: str, base: type[_AnyPart]) -> type[_AnyPart]:
    """The class that `name: SomeClass` in the experiment's body says, or that of its value."""
    value = getattr(cls, name, None)
    if isinstance(value, base):
        return type(value)
    if isinstance(value, type):
        raise _error(
            cls,
            f"{cls.__name__}.{name} is assigned a class; annotate it instead:"
            f" `{name}: {value.__name__}`",
        )
    declared = _annotation(cls, name)
    if isinstance(declared, type) and issubclass(declared, base):
        return declared
    raise _error(
        cls,
        f"{cls.__name__}.{name} is annotated with {getattr(declared, '__name__', declared)};"
        f" it must be a class that derives from heraci.{base.__name__}",
    )


def _annotation(cls: type[Experiment], name: str) -> Any:
    """What the nearest class that annotates the part says."""
    try:
        for owner in (each for each in cls.__mro__ if issubclass(each, Experiment)):
            declared = inspect.get_annotations(owner).get(name)
            if owner is Experiment:
                break
            if isinstance(declared, str):
                return eval(declared, dict(owner._known))  # noqa: S307 - the author's annotation
            if declared is not None:
                return declared
    except NameError as error:
        raise _error(cls, f"the annotation of {cls.__name__}.{name} is unknown: {error}") from error
    return _PARTS[name]


def _resource_type(annotation: Any) -> type[Resource] | None:
    """The resource that `X` or `X | None` means."""
    choices = [each for each in get_args(annotation) if each is not type(None)] or [annotation]
    only = choices[0] if len(choices) == 1 else None
    return only if isinstance(only, type) and issubclass(only, Resource) else None


def _resource_values(name: str, default: Any, given: Any) -> Any:
    """What a field's resource is made of: the given name or table over what the field declares."""
    if given is False or (given is None and default is None):
        return None
    if isinstance(given, str):
        given = {"name": given}
    elif isinstance(given, Resource):
        given, default = given.model_dump(), None
    elif given is not None and not isinstance(given, Mapping):
        raise ValueError(
            f"the environment field {name!r} is given {given!r}: write the resource's name, or a"
            " table with a name"
        )
    declared = default.model_dump() if isinstance(default, Resource) else {}
    values = {**declared, **(given or {})}
    return {**values, "name": values.get("name") or _dashed(name)}


def _default_fits(cls: type[Environment], name: str, annotation: Any, default: Any) -> None:
    if not isinstance(default, Resource):
        return
    kind = type(default).__name__
    expected = _resource_type(annotation)
    if expected is None or not isinstance(default, expected):
        shown = getattr(annotation, "__name__", annotation)
        raise ExperimentError(
            f"{cls.__name__}.{name} is annotated with {shown} and is a {kind}: write"
            f" `{name}: {kind} = {kind}(…)`"
        )


# --- Paths and names -----------------------------------------------------------------------------


def _absolute(path: str) -> str:
    if path and not path.startswith("/"):
        raise ValueError(f'{path!r} does not begin with "/": a mount path is absolute')
    return path


def _mount_path(resource: Resource, path: str) -> str:
    if not path:
        raise ExperimentError(
            f"{resource._called()} has no mount_path: write"
            f' {type(resource).__name__}(mount_path="/data"), or give it here'
        )
    return _absolute(path)


def _volume_mount(
    name: str, mount_path: str, sub_path: str | None, *, read_only: bool = False
) -> VolumeMount:
    from hera.workflows.models import VolumeMount

    return VolumeMount(
        name=name, mount_path=mount_path, sub_path=sub_path, read_only=read_only or None
    )


def _dashed(name: str) -> str:
    return name.strip("_").replace("_", "-").lower()


def _dashed_words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


# --- What is told --------------------------------------------------------------------------------


def _refuse_unknown(
    cls: type[Experiment], word: str, part: type[BaseModel], given: Mapping[str, Any]
) -> None:
    for name in given:
        if name not in part.model_fields:
            known = sorted(part.model_fields)
            has = f"it has {', '.join(known)}" if known else "it declares none"
            raise _error(
                cls, f"{cls.__name__} has no {word} {name!r}{_nearest(name, known)}; {has}"
            )


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _told(cls: type[Experiment], name: str, error: ValidationError) -> str:
    word = {"inputs": "input", "environment": "environment field"}[name]
    return "; ".join(_told_once(cls, word, each) for each in error.errors())


def _told_once(cls: type[Experiment], word: str, error: Mapping[str, Any]) -> str:
    where = ".".join(str(each) for each in error["loc"])
    if error["type"] == "missing":
        return (
            f"{cls.__name__} needs the {word} {where!r}: give it a default, or a value in settings"
        )
    if error["type"] == "extra_forbidden":
        return f"the {word} {where!r} of {cls.__name__} is not known"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"the {word} {where!r} of {cls.__name__}: {message}" if where else message


def _error(cls: type[Experiment], message: str) -> ExperimentError:
    file, line = cls._source
    return ExperimentError(message, file=file or None, line=line or None)


def _error_in_workflow(experiment: Experiment, message: str) -> ExperimentError:
    cls = type(experiment)
    error = _error(cls, f"{cls.__name__}.workflow {message}")
    code = getattr(inspect.unwrap(cls.workflow), "__code__", None)
    if code is not None:
        error.file, error.line = code.co_filename, code.co_firstlineno
    return error
