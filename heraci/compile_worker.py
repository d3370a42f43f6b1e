"""Run one experiment's Python and send back, as data, the workflows that it would have submitted.

This is the only code that runs an author's Python. It is plain standard library, because it runs
beside whatever Hera (5.6 to 7.x) and Python (3.9 or later) an experiment asks for, and it finds out
what is there instead of asking for a version. The wall around it is `compile_server`'s affair;
nothing here is a defence against a hostile script, which can lie about itself alone.

Whatever would reach a server is recorded instead of sent, and answered with something that a
script can go on with. The job and the result are JSON objects; `run` describes both.
"""

from __future__ import annotations

import argparse
import base64
import builtins
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import os
import random
import re
import symtable
import sys
import traceback
import types
import uuid
import warnings

# Marks every credential that a script is given; found in a manifest, it is an error.
PLACEHOLDER = "heraci-placeholder"
PLACEHOLDER_TOKEN = PLACEHOLDER + "-token"
ENCODED_PLACEHOLDER = base64.b64encode(PLACEHOLDER.encode()).decode()
PLACEHOLDER_SERVER = "https://argo.invalid"
# What stands in a manifest for the folder that the experiment was compiled in.
ROOT_MARKER = "/heraci-repository"


class Stop(BaseException):
    """Ends the script where going on would reach outside; not to be caught by `except Exception`."""


class Run:
    """One experiment's compilation: what is watched, the run itself, and what was captured.

    `install` may be called long before the job is known, in the process that workers are forked
    from; `result` runs the job and gives what it built.

    `job` holds: `root` (the staged copy of the repository), `path` (the entry, relative to it),
    `name`, `function` (call this instead of running the file as `__main__`), `module` (the entry's
    dotted name where its folder is a package), `search` and `search_last` (folders of the
    repository that imports may need, before and behind installed packages), `arguments`, `inputs`, `environment` and
    `own_environment` (resolved values), `others` (entry files of other
    experiments), `pin_randomness`, `allow_network`.

    The result holds: `documents` (each with `document`, `sources`, `order`), `requirements`,
    `findings`, `touched` (paths of the repository that were opened, listed or looked for), `hera`
    and `python` (versions), `error` (a finding, where the experiment failed).
    """

    def __init__(self):
        self.job = None
        self.root = self.prefix = self.entry = None
        self.findings = []
        self.requirements = []
        self.touched = set()
        self.workflows = []  # every Hera workflow object, in order of creation
        self.origins = {}  # id of a Hera object -> (file, line, file of the module being run)
        self.kept = []  # keeps them alive: an id must not be given out twice
        self.calls = []  # what would have been sent to Argo
        self.sending = []  # the Hera objects whose create(), update() or lint() is under way
        self.consumed = set()  # ids of templates that only served create_as_workflow()
        self.warned = []
        self.hera = None
        self.authors = None
        self.after_import = {}  # module name -> what to do with it once it is imported
        self.main = None

    def install(self):
        """Watch what can be watched before the job is known."""
        self.watch_hera()
        self.watch_arguments()
        self.watch_kubernetes()
        sys.meta_path.insert(0, _AfterImport(self.after_import))
        _sort_listings()
        hera = sys.modules.get("hera")
        self.hera = _version_of("hera") if hera else None
        try:
            self.authors = importlib.import_module("heraci.experiment")
        except ImportError:  # no pydantic 2 beside an old Hera: its authors write plain Hera
            self.authors = None

    def warm_up(self):
        """Build a workflow of the common kinds once, in the process that workers are forked from.

        pydantic finishes a model's schema when it is first used, which for Hera's large models takes
        longer than compiling an experiment does.
        """
        from hera.shared import global_config
        from hera.workflows import (
            DAG,
            Artifact,
            ConfigMapEnvFrom,
            Container,
            CronWorkflow,
            Env,
            ExistingVolume,
            Parameter,
            Resources,
            Script,
            SecretEnv,
            Step,
            Steps,
            Suspend,
            Task,
            Volume,
            Workflow,
            WorkflowTemplate,
        )
        from hera.workflows import models

        def body(x):
            print(x)

        self.root = self.prefix = self.entry = os.sep + "nowhere"
        common = {
            "inputs": [Parameter(name="x"), Artifact(name="a", path="/a")],
            "outputs": [Parameter(name="y", value_from=models.ValueFrom(path="/y"))],
            "env": [Env(name="A", value="1"), SecretEnv(name="B", secret_name="b", secret_key="k")],
            "env_from": [ConfigMapEnvFrom(name="c")],
            "resources": Resources(cpu_request=1, memory_request="1Gi"),
            "volumes": [ExistingVolume(name="v", claim_name="v", mount_path="/v")],
        }
        for kind in (Workflow, WorkflowTemplate):
            with kind(
                generate_name="w-",
                entrypoint="d",
                arguments=[Parameter(name="p", value="1")],
                pod_gc=models.PodGC(strategy="OnPodCompletion"),
                ttl_strategy=models.TTLStrategy(seconds_after_completion=1),
                volume_claim_templates=[],
            ) as workflow:
                container = Container(name="c", image="i", command=["c"], args=["a"], **common)
                Script(name="s", source="print()", image="i", command=["python"])
                Container(name="v", image="i", volumes=[Volume(name="n", size="1Gi", mount_path="/n")])
                Suspend(name="u", duration=1)
                with Steps(name="t"):
                    Step(name="a", template=container, arguments={"x": 1}, with_items=[1, 2])
                with DAG(name="d"):
                    first = Task(name="a", template=container, arguments={"x": "{{item}}"})
                    first >> Task(name="b", template="s", when="1 == 1", with_param="[1]")
            workflow.to_dict()
        with CronWorkflow(name="w", entrypoint="c", schedules=["* * * * *"]) as workflow:
            Script(name="c", source=body, image="i", inputs=[Parameter(name="x")])
        workflow.to_dict()
        _unbound_names("import os\nprint(os)")
        global_config.reset()
        self.watch_config(global_config)
        for held in (self.findings, self.workflows, self.origins, self.kept, self.warned):
            held.clear()

    def result(self, job):
        """Run a job; never raises, whatever the experiment does."""
        self.job = job
        self.root = os.path.realpath(job["root"])
        self.prefix = self.root + os.sep
        self.entry = os.path.join(self.root, *job["path"].split("/"))
        error = None
        try:
            self.prepare()
            try:
                returned = self.execute()
            except BaseException as raised:
                error = self.failure(raised)
                returned = None
            if error is None:
                self.add_experiments()
            documents = self.documents(returned) if error is None or self.calls else []
        except BaseException as raised:
            documents, error = [], self.failure(raised)
        if error and documents:
            # All that was sent is known in full; what the script meant to do next is not.
            error["severity"] = "warning"
            error["message"] += "\nIt was submitted before this happened and is kept as it was."
            self.findings.append(error)
            error = None
        return {
            "documents": documents,
            "requirements": self.requirements,
            "findings": self.findings,
            "error": error,
            "touched": sorted(self.touched),
            "hera": self.hera,
            "python": "%d.%d" % sys.version_info[:2],
        }

    # --- before the run -------------------------------------------------------------------------

    def prepare(self):
        os.chdir(os.path.dirname(self.entry))
        sys.argv = [self.entry]
        search = [os.path.dirname(self.entry)]
        search += [os.path.join(self.root, *each.split("/")) for each in self.job["search"]]
        sys.path[:0] = [os.path.normpath(each) for each in search]
        # At the end, where they hide no installed package.
        last = (os.path.join(self.root, *each.split("/")) for each in self.job["search_last"])
        sys.path.extend(os.path.normpath(each) for each in last)
        if self.job["pin_randomness"]:
            _pin_randomness(self.job["name"])
        if self.authors:
            self.authors.configure(
                experiment=self.job["name"],
                inputs=self.job["inputs"],
                arguments=self.job["arguments"],
                environment=self.job["environment"],
                own_environment=self.job["own_environment"],
            )
        warnings.simplefilter("default")
        warnings.showwarning = self.warning
        self.watch_files_and_network()

    def watch_arguments(self):
        """Give an author's own parser the arguments that it declares and heraci was told."""

        def watch(kind):
            original = kind.parse_known_args

            @functools.wraps(original)
            def parse(parser, args=None, *rest, **options):
                if args is None:
                    args = sys.argv[1:]
                    arguments = self.job["arguments"].items()
                    given = {_plain_name(key): value for key, value in arguments}
                    for action in parser._actions:
                        names = [_plain_name(each) for each in (*action.option_strings, action.dest)]
                        found = next((name for name in names if name in given), None)
                        if found is not None:
                            args = args + _as_arguments(action, given[found])
                return original(parser, args, *rest, **options)

            kind.parse_known_args = parse

        watch(argparse.ArgumentParser)
        # ConfigArgParse reads files and variables and calls argparse's with arguments of its own.
        self.after_import["configargparse"] = lambda module: watch(module.ArgumentParser)

    # --- Hera -----------------------------------------------------------------------------------

    def watch_hera(self):
        try:
            import hera.workflows as hera
        except ImportError:
            return
        from hera.shared import global_config
        from hera.workflows import service

        self.watch_config(global_config)
        self.watch_service(service.WorkflowsService)
        try:
            from hera.workflows.async_service import AsyncWorkflowsService
        except ImportError:
            pass
        else:
            self.watch_service(AsyncWorkflowsService)
        self.watch_objects(hera)
        self.watch_models()
        self.watch_templates()

    def watch_config(self, config):
        config.host = PLACEHOLDER_SERVER
        kind = type(config)
        token = kind.token
        # The getter is what calls an author's token function, which would ask the cluster.
        kind.token = property(lambda config: PLACEHOLDER_TOKEN, token.fset)
        if hasattr(kind, "client_certs"):
            kind.client_certs = property(lambda config: None, kind.client_certs.fset)
        auth = sys.modules.get("hera.auth")
        if hasattr(auth, "ArgoCLITokenGenerator"):
            auth.ArgoCLITokenGenerator.__call__ = lambda generator: PLACEHOLDER_TOKEN

    def watch_service(self, service):
        """Record every method that would reach a server, whatever it is called."""
        for name, method in list(vars(service).items()):
            offline = name.startswith("_") or name == "close" or name.endswith("_link")
            if offline or not inspect.isfunction(method):
                continue
            setattr(service, name, self.recorder(name, method))

    def recorder(self, name, method):
        signature = inspect.signature(method)
        returns = getattr(method, "__annotations__", {}).get("return")

        @functools.wraps(method)
        def record(service, *args, **options):
            values = signature.bind(service, *args, **options).arguments
            sent = self.record(name, values)
            return self.answer(name, sent, values, returns, method)

        if not inspect.iscoroutinefunction(method):
            return record

        @functools.wraps(method)
        async def record_async(service, *args, **options):
            return record(service, *args, **options)

        return record_async

    def record(self, name, values):
        """Note the model that a call carries, and give it back."""
        request = values.get("req")
        if request is None:
            return None
        if name == "submit_workflow":
            return self.record_submission(request)
        for field in ("workflow", "template", "cron_workflow"):
            model = getattr(request, field, None)
            if model is not None:
                if not name.startswith("lint"):
                    owner = self.sending[-1] if self.sending else None
                    self.calls.append((model, owner, self.caller(), len(self.workflows)))
                return model
        return None

    def record_submission(self, request):
        """Turn the submission of a template that is on the cluster into a workflow that refers to it."""
        options = getattr(request, "submit_options", None)
        name = getattr(request, "resource_name", None) or ""
        kind = (getattr(request, "resource_kind", None) or "").lower()
        if "cron" in kind:
            self.find(
                "cron-submitted",
                "notice",
                "runs the CronWorkflow %s at once; heraci submits manifests only" % name,
                self.caller(),
            )
            return None
        reference = {"name": name}
        if "cluster" in kind:
            reference["clusterScope"] = True
        spec = {"workflowTemplateRef": reference}
        pairs = [each.partition("=") for each in getattr(options, "parameters", None) or []]
        if pairs:
            parameters = [{"name": key, "value": value} for key, _, value in pairs]
            spec["arguments"] = {"parameters": parameters}
        for field, key in (("entry_point", "entrypoint"), ("service_account", "serviceAccountName")):
            if getattr(options, field, None):
                spec[key] = getattr(options, field)
        metadata = {"generateName": name + "-"}
        if getattr(options, "name", None):
            metadata = {"name": options.name}
        document = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": metadata,
            "spec": spec,
        }
        self.calls.append((document, None, self.caller(), len(self.workflows)))
        return None

    def answer(self, name, sent, values, returns, method):
        """Give a script what a server would: what it sent, with a name and a phase."""
        from hera.workflows import models

        name_given = values.get("name") or "heraci"
        if isinstance(returns, str):
            returns = getattr(models, returns, method.__globals__.get(returns))
        if sent is not None:
            model = sent.copy() if not hasattr(sent, "model_copy") else sent.model_copy()
            model.metadata = models.ObjectMeta(
                **{
                    "name": sent.metadata.name or (sent.metadata.generate_name or "") + "heraci",
                    "namespace": sent.metadata.namespace,
                    "uid": str(uuid.UUID(int=0)),
                    "labels": sent.metadata.labels,
                    "annotations": sent.metadata.annotations,
                }
            )
        else:
            model = _construct(
                returns,
                metadata=models.ObjectMeta(name=name_given, namespace=values.get("namespace")),
                spec=_construct(getattr(models, "WorkflowSpec", None)),
                items=[],
            )
        if returns is getattr(models, "Workflow", None) and model is not None:
            model.status = models.WorkflowStatus(phase="Succeeded", message="compiled by heraci")
        return model

    def watch_objects(self, hera):
        """Note where each workflow, template, step and task is written."""
        from hera.workflows import workflow as workflow_module

        base = workflow_module.Workflow
        _replace_new(base, self.note_workflow)
        for name in ("Task", "Step", "Parallel", "Steps", "DAG", "Container", "Script", "ContainerSet"):
            if hasattr(hera, name):
                _replace_new(getattr(hera, name), self.note)
        for name in ("HTTP", "Resource", "Suspend", "Data"):
            if hasattr(hera, name):
                _replace_new(getattr(hera, name), self.note)
        senders = ("create", "update", "lint", "async_create", "async_update", "async_lint")
        for kind in [base, *_subclasses(base)]:
            for name in senders:
                if name in vars(kind):
                    setattr(kind, name, self.sender(vars(kind)[name]))
            if "create_as_workflow" in vars(kind):
                kind.create_as_workflow = self.consumer(kind.create_as_workflow)
            if "async_create_as_workflow" in vars(kind):
                kind.async_create_as_workflow = self.consumer(kind.async_create_as_workflow)
            for name in ("wait", "async_wait"):
                if name in vars(kind):
                    setattr(kind, name, self.waiter(vars(kind)[name]))

    def sender(self, method):
        def enter(workflow):
            self.sending.append(workflow)
            # Hera asserts a namespace before it sends; the target's is set when heraci submits.
            borrowed = getattr(workflow, "namespace", "") is None
            if borrowed and "Cluster" not in type(workflow).__name__:
                workflow.namespace = PLACEHOLDER
            return borrowed

        def leave(workflow, borrowed):
            self.sending.pop()
            if borrowed:
                workflow.namespace = None

        if inspect.iscoroutinefunction(method):

            @functools.wraps(method)
            async def send_async(workflow, *args, **options):
                borrowed = enter(workflow)
                try:
                    return await method(workflow, *args, **options)
                finally:
                    leave(workflow, borrowed)

            return send_async

        @functools.wraps(method)
        def send(workflow, *args, **options):
            borrowed = enter(workflow)
            try:
                return method(workflow, *args, **options)
            finally:
                leave(workflow, borrowed)

        return send

    def consumer(self, method):
        @functools.wraps(method)
        def consume(workflow, *args, **options):
            self.consumed.add(id(workflow))
            if getattr(workflow, "namespace", "") is not None:
                return method(workflow, *args, **options)
            workflow.namespace = PLACEHOLDER
            try:
                return method(workflow, *args, **options)
            finally:
                workflow.namespace = None

        return consume

    def waiter(self, method):
        """Answer wait() at once: nothing was started that could be waited for."""

        def answer(workflow):
            service = workflow.workflows_service
            return service.get_workflow(workflow.name or "heraci", namespace=workflow.namespace)

        if inspect.iscoroutinefunction(method):

            @functools.wraps(method)
            async def wait_async(workflow, *args, **options):
                found = answer(workflow)
                return await found if inspect.isawaitable(found) else found

            return wait_async

        @functools.wraps(method)
        def wait(workflow, *args, **options):
            return answer(workflow)

        return wait

    def note_workflow(self, created):
        self.note(created)
        self.workflows.append(created)

    def note(self, created):
        frame = sys._getframe(2)
        direct = frame.f_code.co_filename.startswith(self.prefix)
        while frame and not frame.f_code.co_filename.startswith(self.prefix):
            frame = frame.f_back
        if frame is None:
            return
        place = (frame.f_code.co_filename, frame.f_lineno)
        module = frame
        while module and not (
            module.f_code.co_name == "<module>"
            and module.f_code.co_filename.startswith(self.prefix)
        ):
            module = module.f_back
        self.kept.append(created)
        running = module.f_code.co_filename if module else self.entry
        self.origins[id(created)] = (*place, running, direct)

    def watch_models(self):
        """Report a field that one of Hera's generated models does not have and would drop."""
        base = _model_base()
        if base is None:
            return
        original = base.__init__
        known = {}

        def check(model, data, frame):
            fields = known.get(model)
            if fields is None:
                fields = known[model] = _field_names(model)
            for name in data:
                if name not in fields and isinstance(name, str):
                    self.unknown_field(model.__name__, name, fields, frame)
            for name, value in data.items():
                if isinstance(value, (dict, list)) and name in fields:
                    for nested, item in _nested(model, fields[name], value):
                        check(nested, item, frame)

        @functools.wraps(original)
        def checked(model, *args, **data):
            frame = sys._getframe(1)
            if frame.f_code.co_filename.startswith(self.prefix):
                check(type(model), data, (frame.f_code.co_filename, frame.f_lineno))
            original(model, *args, **data)

        base.__init__ = checked
        try:
            from hera.workflows._meta_mixins import ModelMapperMixin
        except ImportError:
            return
        from_dict = vars(ModelMapperMixin).get("_from_dict")
        if from_dict is None:
            return

        @classmethod
        @functools.wraps(from_dict.__func__)
        def checked_from_dict(kind, data, model):
            if isinstance(data, dict):
                check(model, data, self.caller())
            return from_dict.__func__(kind, data, model)

        ModelMapperMixin._from_dict = checked_from_dict

    def unknown_field(self, model, name, fields, place):
        import difflib

        near = difflib.get_close_matches(name, sorted(fields), 1)
        hint = " Did you mean %s?" % near[0] if near else ""
        self.find(
            "unknown-field",
            "error",
            "%s has no field %s: Hera drops it without a word.%s" % (model, name, hint),
            place,
        )

    def watch_templates(self):
        """Report a second template of a name already taken, which Hera drops without a word."""
        try:
            from hera.workflows._context import _context
        except ImportError:
            return
        kind = type(_context)
        original = kind.add_sub_node
        seen = set()

        @functools.wraps(original)
        def add(context, node):
            pieces = context.pieces if hasattr(context, "pieces") else context._pieces
            template = getattr(node, "template", None)
            if pieces and template is not None and not isinstance(template, str):
                self.compare_templates(pieces[0], template, seen)
            return original(context, node)

        kind.add_sub_node = add

    def compare_templates(self, workflow, template, seen):
        name = getattr(template, "name", None)
        key = (id(workflow), id(template))
        if name is None or key in seen:
            return
        seen.add(key)
        self.kept.append(template)
        for other in getattr(workflow, "templates", None) or ():
            if getattr(other, "name", None) != name:
                continue
            source, others = getattr(template, "source", None), getattr(other, "source", None)
            same = source is others if source is not None or others is not None else None
            if same is None:
                same = other is template or other == template
            if not same:
                self.find(
                    "template-dropped",
                    "error",
                    "a second template named %s: Hera keeps the first and drops this one. "
                    "Give it another name." % name,
                    self.place_of(template),
                )
            return

    # --- the Kubernetes API ---------------------------------------------------------------------

    def watch_kubernetes(self):
        self.after_import.update(
            {
                "kubernetes.client": self.patch_kubernetes_client,
                "kubernetes.config": _patch_kubernetes_config,
                "kubernetes.config.kube_config": _patch_kubernetes_config,
                "kubernetes.dynamic": _patch_kubernetes_dynamic,
            }
        )

    def patch_kubernetes_client(self, client):
        for name in dir(client):
            kind = getattr(client, name, None)
            if not (isinstance(kind, type) and name.endswith("Api")):
                continue
            for method in dir(kind):
                verb = method.partition("_")[0]
                if not method.startswith("_") and callable(getattr(kind, method)) and "_" in method:
                    setattr(kind, method, self.cluster_call(verb, method, getattr(kind, method)))

    def cluster_call(self, verb, method, original):
        try:
            signature = inspect.signature(original)
        except (TypeError, ValueError):
            signature = None

        def call(api, *args, **options):
            values = dict(options)
            if signature is not None:
                bound = signature.bind_partial(api, *args, **options).arguments
                values.update(bound.pop("kwargs", {}), **bound)
            return self.answer_cluster(verb, method, values)

        return call

    def answer_cluster(self, verb, method, values):
        kind = _kind_of(method)
        namespace = values.get("namespace")
        place = self.caller()
        if verb in ("create", "replace", "patch", "delete"):
            self.find(
                "not-sent",
                "notice",
                "%s is not sent while compiling" % method,
                place,
            )
            return values.get("body") if verb == "create" else _Answer(self, kind, namespace, None)
        name = values.get("name")
        if "custom_object" in method:
            kind = _plural_kind(values.get("plural") or "")
        if verb in ("read", "get") and name:
            self.require(kind, name, namespace, place)
        return _Answer(self, kind, namespace, name)

    def require(self, kind, name, namespace, place, key=None):
        if not kind or not isinstance(name, str) or PLACEHOLDER in name:
            return None
        name = str(name)
        if namespace is not None:
            namespace = str(namespace)
            if PLACEHOLDER in namespace or kind in ("Namespace", "Node", "PersistentVolume"):
                namespace = None
        for each in self.requirements:
            if (each["kind"], each["name"], each["namespace"]) == (kind, name, namespace):
                break
        else:
            each = {
                "kind": kind,
                "name": name,
                "namespace": namespace,
                "keys": [],
                "source": self.shown(place),
            }
            self.requirements.append(each)
        if key is not None and key not in each["keys"]:
            each["keys"].append(str(key))
        return each

    # --- files and network ----------------------------------------------------------------------

    def watch_files_and_network(self):
        root, prefix, touched = self.root, self.prefix, self.touched
        allow_network = self.job["allow_network"]
        reaching = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")

        def note(path):
            if isinstance(path, bytes):
                path = os.fsdecode(path)
            if isinstance(path, str):
                full = os.path.normpath(path if path[:1] == "/" else os.path.join(os.getcwd(), path))
                if full.startswith(prefix):
                    touched.add(full[len(prefix) :])
                elif full == root:
                    touched.add("")

        def hook(event, args):
            if event == "open" or event == "os.listdir" or event == "os.scandir":
                if event == "open" or sys._getframe(1).f_code.co_filename[:1] != "<":
                    note(args[0] if args[0] is not None else ".")
            elif event in reaching and not allow_network:
                self.refuse(event, args)

        sys.meta_path.append(_Missing(note))
        original = os.stat

        @functools.wraps(original)
        def stat(path, *args, **options):
            if not isinstance(path, int):
                note(os.fspath(path))
            return original(path, *args, **options)

        os.stat = stat
        sys.addaudithook(hook)

    def refuse(self, event, args):
        address = args[1] if event in ("socket.connect", "socket.sendto") else args[0]
        if isinstance(address, tuple):
            address = ":".join(str(each) for each in address[:2])
        message = (
            "tried to reach %s while compiling. Read what it needs from a file of the repository, or "
            "set allow-network = true for this experiment in heraci.toml." % (address,)
        )
        self.find("network-refused", "error", message, self.caller())
        raise PermissionError("heraci: network use is refused while compiling (%s)" % (address,))

    # --- the run --------------------------------------------------------------------------------

    def execute(self):
        function = self.job["function"]
        module = self.job["module"]
        with open(self.entry, "rb") as file:
            code = compile(file.read(), self.entry, "exec", dont_inherit=True)
        name = "__main__" if function is None else module or _stem(self.entry)
        self.main = types.ModuleType(name)
        self.main.__file__ = self.entry
        self.main.__builtins__ = builtins
        if module:
            package = module.rpartition(".")[0]
            self.main.__package__ = package
            loader = importlib.machinery.SourceFileLoader(module, self.entry)
            self.main.__spec__ = importlib.machinery.ModuleSpec(
                module, loader, origin=self.entry
            )
            self.main.__loader__ = loader
            if package:
                importlib.import_module(package)
            self.name_runner_modules(module)
        sys.modules[name] = self.main
        exec(code, self.main.__dict__)
        if function is not None:
            made = getattr(self.main, function, None)
            if made is None:
                raise NameError("%s defines no function %s" % (self.job["path"], function))
            return made()
        if not self.workflows and not self.calls and not self.experiment_classes():
            return self.call_factories()
        return None

    def name_runner_modules(self, module):
        """Name the entry by its package, as `python -m` would, in what runs in the pod.

        Hera takes the most specific folder of sys.path, which here is the script's own.
        """
        try:
            from hera.workflows._runner import util
        except ImportError:
            return
        original = getattr(util, "create_module_string", None)
        if original is None:
            return

        @functools.wraps(original)
        def create_module_string(path):
            if os.path.realpath(path) == self.entry:
                return module
            return original(path)

        util.create_module_string = create_module_string

    def call_factories(self):
        """Call the functions that say, by their annotation, that they make a workflow of nothing."""
        made = []
        for value in list(vars(self.main).values()):
            if not inspect.isfunction(value) or value.__module__ != self.main.__name__:
                continue
            wanted = value.__annotations__.get("return")
            name = wanted if isinstance(wanted, str) else getattr(wanted, "__name__", "")
            kinds = ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow")
            needs = [
                each
                for each in inspect.signature(value).parameters.values()
                if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            ]
            if name.rpartition(".")[2] in kinds and not needs:
                made.append(value())
        return made

    def experiment_classes(self):
        if self.authors is None:
            return []
        return self.authors.experiments_in(vars(self.main), self.main.__name__)

    def add_experiments(self):
        """Build heraci's own Experiment classes, as the last thing, as a caller would."""
        for kind in self.experiment_classes():
            instance = self.authors.instantiate(kind)
            place = (inspect.getsourcefile(kind) or self.entry, _first_line(kind))
            for workflow in self.authors.build(instance):
                # Hera may have made it for the author (from_yaml): it counts as written here.
                where = self.origins.get(id(workflow), place)
                self.origins[id(workflow)] = (where[0], where[1], self.entry, True)
                if not any(each is workflow for each in self.workflows):
                    self.workflows.append(workflow)
            for each in self.authors.requirements_of(instance):
                self.requirements.append(dict(each, source=self.shown(place), origin="environment"))

    # --- after the run --------------------------------------------------------------------------

    def documents(self, returned):
        found = []
        sent = set()
        for model, owner, place, order in self.calls:
            document = model if isinstance(model, dict) else _to_dict(model)
            sources = {"": self.shown(place)}
            if owner is not None:
                sent.add(id(owner))
                order = next(
                    (n for n, each in enumerate(self.workflows) if each is owner), len(self.workflows)
                )
                sources = self.sources(owner) or sources
            found.append({"document": document, "sources": sources, "order": order})
        reachable = self.reachable(returned)
        for order, workflow in enumerate(self.workflows):
            if id(workflow) in sent or id(workflow) in self.consumed:
                continue
            if not self.is_ours(workflow, reachable):
                continue
            self.warned = []
            document = workflow.to_dict()
            spec = document.get("spec") or {}
            sources = self.sources(workflow)
            self.report_warnings(workflow, sources)
            content = spec.get("workflowSpec", spec)
            if "templates" not in content and "workflowTemplateRef" not in content:
                self.find(
                    "empty-workflow",
                    "notice",
                    "a workflow without templates is left out",
                    self.place_of(workflow),
                )
                continue
            found.append({"document": document, "sources": sources, "order": order})
        found.sort(key=lambda each: each["order"])
        return self.finish(found)

    def is_ours(self, workflow, reachable):
        """Tell whether a live workflow belongs to this experiment.

        One that the author's code made while this file ran does; one that another experiment's
        file made belongs there; one that a library made counts if the author kept it.
        """
        where = self.origins.get(id(workflow))
        if where is None:
            return id(workflow) in reachable
        running, direct = where[2], where[3]
        if running != self.entry:
            other = running[len(self.prefix) :].replace(os.sep, "/")
            return other not in self.job["others"] and id(workflow) in reachable
        return direct or id(workflow) in reachable

    def reachable(self, returned):
        """Give the ids of the workflows that the entry's names lead to, three levels deep."""
        found = set()
        level = [returned, *(list(vars(self.main).values()) if self.main else [])]
        for _ in range(4):
            following = []
            for value in level:
                if isinstance(value, dict):
                    following.extend(value.values())
                elif isinstance(value, (list, tuple, set, frozenset)):
                    following.extend(value)
                else:
                    found.add(id(value))
            level = following
        return found

    def finish(self, found):
        """Drop what is there twice, take out what heraci put in, and look at what will run."""
        result = []
        texts = set()
        for each in found:
            text = json.dumps(each["document"], default=_as_json, ensure_ascii=False)
            text = text.replace(self.root, ROOT_MARKER)
            if ROOT_MARKER in text:
                self.find(
                    "path-of-this-machine",
                    "warning",
                    "the manifest holds a path of the machine that compiled it, shown as %s. "
                    "Use a path of the pod." % ROOT_MARKER,
                    self.unshown(each["sources"].get("")),
                )
            document = json.loads(text)
            metadata = document.get("metadata") or {}
            if metadata.get("namespace") == PLACEHOLDER:
                del metadata["namespace"]
            text = json.dumps(document, sort_keys=True)
            if text in texts:
                continue
            texts.add(text)
            if PLACEHOLDER in text or ENCODED_PLACEHOLDER in text:
                self.find(
                    "placeholder-in-manifest",
                    "error",
                    "a placeholder that heraci gave instead of a credential or of the cluster's "
                    "answer stands in the manifest. Refer to a Secret or a ConfigMap instead.",
                    self.unshown(each["sources"].get("")),
                )
            self.check_scripts(document, each["sources"])
            self.check_names(document, each["sources"])
            result.append(dict(each, document=document))
        return result

    def check_names(self, document, sources):
        seen = set()
        for template in _templates(document):
            name = template.get("name")
            if name in seen:
                self.find(
                    "template-name-twice",
                    "error",
                    "two templates are named %s" % name,
                    self.unshown(sources.get(name) or sources.get("")),
                )
            seen.add(name)

    def check_scripts(self, document, sources):
        for template in _templates(document):
            script = template.get("script") or {}
            command = (script.get("command") or [""])[0]
            if not re.search(r"(^|/)(python|pypy)[\d.]*$", command or ""):
                continue
            name = template.get("name") or ""
            for unbound in _unbound_names(script.get("source") or ""):
                place = self.unshown(sources.get(name) or sources.get(""))
                self.find(
                    "name-not-in-pod",
                    "error",
                    "the script %s uses %s, which will not exist in the pod: only the function's "
                    "body travels. Import or define it inside the function." % (name, unbound),
                    _line_of(place, unbound),
                )

    def report_warnings(self, workflow, sources):
        for message in self.warned:
            for field, value in re.findall(r"field_name='(\w+)', input_value=(.*?), input_type=", message):
                expected = re.search(r"[Ee]xpected `([^`]+)`", message)
                self.find(
                    "wrong-type",
                    "error",
                    "%s is %s%s" % (field, value, ", not " + expected[1] if expected else ""),
                    self.place_with(workflow, field, value) or self.place_of(workflow),
                )
            if "field_name=" not in message:
                first = message.strip().splitlines()[-1].strip()
                self.find("wrong-type", "error", first, self.place_of(workflow))

    def place_with(self, workflow, field, value):
        """Find the Hera object that holds the value which pydantic complains of."""
        for each in (workflow, *self.kept):
            held = getattr(each, field, None)
            if held is not None and repr(held)[:40].startswith(value.rstrip(".")[:40]):
                return self.place_of(each)
        return None

    def warning(self, message, category, filename, lineno, file=None, line=None):
        text = str(message)
        if "serializer warnings" in text:
            self.warned.append(text)
        else:
            sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))

    def sources(self, workflow):
        """Give `file:line` of the workflow, of its templates and of their steps and tasks."""
        sources = {}
        where = self.shown(self.place_of(workflow))
        if where:
            sources[""] = where
        for template in getattr(workflow, "templates", None) or ():
            name = getattr(template, "name", None)
            where = self.shown(self.place_of(template))
            if not name or not where:
                continue
            sources[name] = where
            for node in _nodes(template):
                where = self.shown(self.place_of(node))
                if where and getattr(node, "name", None):
                    sources["%s/%s" % (name, node.name)] = where
        return sources

    def place_of(self, created):
        function = getattr(created, "source", None)
        code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
        if code is not None and code.co_filename.startswith(self.prefix):
            return (code.co_filename, code.co_firstlineno)
        where = self.origins.get(id(created))
        return where[:2] if where else None

    def caller(self):
        """Give the author's line that is being run."""
        frame = sys._getframe(1)
        while frame:
            if frame.f_code.co_filename.startswith(self.prefix):
                return (frame.f_code.co_filename, frame.f_lineno)
            frame = frame.f_back
        return None

    def shown(self, place):
        if not place:
            return None
        path, line = place
        if not path.startswith(self.prefix):
            return None
        return "%s:%d" % (path[len(self.prefix) :].replace(os.sep, "/"), line)

    def unshown(self, source):
        if not source:
            return None
        path, _, line = source.rpartition(":")
        return (os.path.join(self.root, *path.split("/")), int(line))

    def find(self, rule, severity, message, place=None):
        source = self.shown(place)
        path, _, line = source.rpartition(":") if source else (None, None, None)
        finding = {
            "rule": rule,
            "severity": severity,
            "message": message,
            "file": path or self.job["path"],
            "line": int(line) if line else None,
        }
        if finding not in self.findings:
            self.findings.append(finding)
        return finding

    def failure(self, raised):
        """Turn what ended the script into one finding at the author's own line."""
        place = None
        if isinstance(raised, SyntaxError) and raised.filename:
            place = (raised.filename, raised.lineno or 1)
            message = "%s: %s" % (type(raised).__name__, raised.msg)
        else:
            try:
                frames = traceback.extract_tb(raised.__traceback__)
            except RecursionError:
                frames = []
            inside = [each for each in frames if each.filename.startswith(self.prefix)]
            if getattr(raised, "file", None) and getattr(raised, "line", None):  # ExperimentError
                place = (raised.file, raised.line)
            elif inside:
                place = (inside[-1].filename, inside[-1].lineno)
            message = self.described(raised)
        finding = self.find("compile-failed", "error", message, place)
        self.findings.remove(finding)
        return finding

    def described(self, raised):
        if isinstance(raised, SystemExit):
            code = raised.code
            if isinstance(code, str):
                return "the script ended itself: %s" % code
            return "the script ended itself with exit code %s before it built a workflow" % (code or 0)
        if isinstance(raised, ModuleNotFoundError) and raised.name:
            return (
                "no module named %s. If it is a package, name it in a requirements.txt beside the "
                "experiment; if it is a file of the repository, see how the experiment finds it."
                % raised.name
            )
        if isinstance(raised, MemoryError):
            return "ran out of memory; see compile-memory"
        if type(raised).__name__ == "ExperimentError":
            return str(raised)
        text = "".join(traceback.format_exception_only(type(raised), raised)).strip()
        return text.replace(self.prefix, "")


class _Answer:
    """What the cluster might have said: every resource is there, whatever its name."""

    def __init__(self, run, kind, namespace, name):
        self._run, self._kind, self._namespace, self._name = run, kind, namespace, name

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "items":
            return [self]
        if name == "name":
            return self._name or _AnyName(self)
        if name == "namespace":
            return self._namespace or PLACEHOLDER
        if name == "kind":
            return self._kind
        if name == "phase":
            return {"PersistentVolumeClaim": "Bound", "Namespace": "Active"}.get(self._kind, "Running")
        if name in ("data", "string_data", "binary_data"):
            return _AnyData(self)
        if name == "access_modes":
            return ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"]
        return self

    def __getitem__(self, key):
        if isinstance(key, (int, slice)):
            return [self][key]
        return getattr(self, key)

    def get(self, key, default=None):
        return getattr(self, key)

    def __iter__(self):
        return iter([self])

    def __len__(self):
        return 1

    def __call__(self, *args, **options):
        return self

    def __str__(self):
        return PLACEHOLDER

    def to_dict(self):
        return {}


class _AnyName(str):
    """A name in a list of the cluster's: equal to whichever one the script looks for."""

    def __new__(cls, answer):
        self = super().__new__(cls, PLACEHOLDER)
        self.answer = answer
        return self

    def __eq__(self, other):
        if isinstance(other, str):
            answer = self.answer
            answer._run.require(answer._kind, other, answer._namespace, answer._run.caller())
        return True

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


class _AnyData(dict):
    """The data of a ConfigMap or a Secret: every key is there and holds a placeholder."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def __missing__(self, key):
        answer = self.answer
        if answer._name:
            place = answer._run.caller()
            answer._run.require(answer._kind, answer._name, answer._namespace, place, key)
        # A Secret's data is base64 of what it holds, and scripts decode it.
        return ENCODED_PLACEHOLDER if answer._kind == "Secret" else PLACEHOLDER

    def get(self, key, default=None):
        return self[key]

    def __contains__(self, key):
        return self[key] is not None

    def __bool__(self):
        return True


class _AfterImport(importlib.abc.MetaPathFinder):
    """Patches a module right after its own import, so that nothing is imported for nothing."""

    def __init__(self, watch):
        self.watch = watch

    def find_spec(self, name, path=None, target=None):
        if name not in self.watch:
            return None
        patch = self.watch.pop(name)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


class _Missing(importlib.abc.MetaPathFinder):
    """Comes last and finds nothing: notes where a module that is nowhere was looked for."""

    def __init__(self, note):
        self.note = note

    def find_spec(self, name, path=None, target=None):
        last = name.rpartition(".")[2]
        for folder in sys.path if path is None else path:
            if isinstance(folder, str):
                self.note(os.path.join(folder, last + ".py"))
                self.note(os.path.join(folder, last))
        return None


def _patch_kubernetes_config(config):
    def load(*args, **options):
        return None

    for name in dir(config):
        if name.startswith("load_"):
            setattr(config, name, load)
        elif name.startswith("new_client_from"):
            setattr(config, name, lambda *args, **options: _new_api_client())
    context = {
        "name": PLACEHOLDER,
        "context": {"cluster": PLACEHOLDER, "namespace": PLACEHOLDER, "user": PLACEHOLDER},
    }
    if hasattr(config, "list_kube_config_contexts"):
        config.list_kube_config_contexts = lambda *args, **options: ([context], context)


def _new_api_client():
    from kubernetes import client

    return client.ApiClient(client.Configuration())


def _patch_kubernetes_dynamic(dynamic):
    dynamic.DynamicClient.__init__ = lambda *args, **options: None
    dynamic.DynamicClient.__getattr__ = lambda client, name: _Answer(None, None, None, None)


def _kind_of(method):
    """Give the kind that `read_namespaced_config_map` and its like speak of."""
    words = method.split("_")[1:]
    for suffix in (["with", "http", "info"], ["for", "all", "namespaces"], ["status"]):
        if words[-len(suffix) :] == suffix:
            words = words[: -len(suffix)]
    if words[:1] == ["namespaced"]:
        words = words[1:]
    return "".join(word.capitalize() for word in words)


def _plural_kind(plural):
    kinds = ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow")
    return next((kind for kind in kinds if kind.lower() + "s" == plural), None)


def _replace_new(kind, note):
    """Have `note` told of every object of a class; `__new__` is what all of Hera's versions share."""

    def __new__(cls, *args, **options):
        created = object.__new__(cls)
        note(created)
        return created

    kind.__new__ = __new__


def _subclasses(kind):
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)


def _model_base():
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


def _field_names(model):
    """Give the names that a model takes, and its aliases, each with the field's annotation."""
    fields = getattr(model, "model_fields", None) or getattr(model, "__fields__", {})
    names = {}
    for name, field in fields.items():
        annotation = getattr(field, "annotation", None) or getattr(field, "outer_type_", None)
        names[name] = names[getattr(field, "alias", None) or name] = annotation
    if "root" in names or "__root__" in names:
        names.setdefault("__root__", None)
    return names


def _nested(model, annotation, value):
    """Give the plain dicts inside a value, each with the model that it will become."""
    import typing

    kinds, queue = [], [annotation]
    while queue:
        each = queue.pop()
        if isinstance(each, type) and issubclass(each, _model_base()):
            kinds.append(each)
        queue.extend(typing.get_args(each))
    if len(kinds) != 1:
        return
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield kinds[0], item


def _construct(model, **values):
    """Make a model without validation, with the fields that it has; None where that cannot be."""
    if not isinstance(model, type):
        return None
    fields = getattr(model, "model_fields", None) or getattr(model, "__fields__", None)
    if fields is None:
        return None
    given = {name: value for name, value in values.items() if name in fields}
    make = getattr(model, "model_construct", None) or model.construct
    return make(**given)


def _to_dict(model):
    if hasattr(model, "model_dump"):
        return model.model_dump(exclude_none=True, by_alias=True)
    return model.dict(exclude_none=True, by_alias=True)


def _as_json(value):
    """Write what JSON does not know as Hera's own YAML would."""
    for attribute in ("value", "isoformat", "root", "__root__"):
        found = getattr(value, attribute, None)
        if found is not None:
            return found() if callable(found) else found
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError("%r cannot stand in a manifest" % (value,))


def _templates(document):
    spec = document.get("spec") or {}
    return (spec.get("workflowSpec") or spec).get("templates") or []


def _nodes(template):
    """Give the tasks of a DAG or the steps of Steps, those of parallel groups too."""
    for attribute in ("tasks", "sub_steps", "workflow_steps"):
        for node in getattr(template, attribute, None) or ():
            if getattr(node, "sub_steps", None) is not None:
                yield from node.sub_steps
            else:
                yield node


def _unbound_names(source):
    """Give the names that a script uses and nothing in it binds, in order; [] if that is unclear."""
    text = re.sub(r"\{\{.*?\}\}", "0", source, flags=re.DOTALL)
    try:
        table = symtable.symtable(text, "script", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    if re.search(r"^\s*from\s+\S+\s+import\s+\*", text, re.MULTILINE):
        return []
    bound = set(dir(builtins)) | {"__name__", "__file__", "__doc__", "__builtins__", "__spec__"}
    bound |= {each.get_name() for each in table.get_symbols() if _binds(each)}
    used = [each.get_name() for each in table.get_symbols() if each.is_referenced()]
    scopes = list(table.get_children())
    while scopes:
        scope = scopes.pop(0)
        scopes.extend(scope.get_children())
        for each in scope.get_symbols():
            if each.is_global():
                if each.is_assigned() or each.is_imported():
                    bound.add(each.get_name())
                if each.is_referenced():
                    used.append(each.get_name())
    return [name for name in dict.fromkeys(used) if name not in bound]


def _binds(symbol):
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def _line_of(place, name):
    """Find the line of a function, which begins at `place`, on which a name is first used."""
    if not place:
        return place
    try:
        with open(place[0], encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return place
    word = re.compile(r"(?<![\w.])%s\b" % re.escape(name))
    for number in range(place[1], min(len(lines), place[1] + 400)):
        text = lines[number]
        if text and not text[0].isspace() and not text.startswith((")", "#", "def ", "@", "async ")):
            break
        if word.search(text):
            return (place[0], number + 1)
    return place


def _first_line(kind):
    try:
        return inspect.getsourcelines(kind)[1]
    except (OSError, TypeError):
        return 1


def _plain_name(name):
    return name.lstrip("-").replace("-", "_").lower()


def _as_arguments(action, value):
    """Write a value from the settings as the words of a command line that the action reads."""
    flag = [action.option_strings[-1]] if action.option_strings else []
    if action.nargs == 0:  # a switch: given or not
        return flag if value in (True, "true", "True", "1", 1) else []
    if isinstance(value, (list, tuple)):
        if isinstance(action, argparse._AppendAction):
            return [word for each in value for word in (*flag, str(each))]
        return [*flag, *(str(each) for each in value)]
    return [*flag, str(value)]


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]


def _pin_randomness(name):
    """Draw what is random in the same order and with the same outcome in each compilation."""
    generator = random.Random("heraci:" + name)
    drawn = generator.randbytes if hasattr(generator, "randbytes") else None

    def urandom(size):
        return drawn(size) if drawn else bytes(generator.getrandbits(8) for _ in range(size))

    def new_uuid(*args, **options):
        return uuid.UUID(bytes=urandom(16), version=4)

    seed = random.Random.seed

    @functools.wraps(seed)
    def seeded(self, a=None, version=2):
        return seed(self, generator.getrandbits(64) if a is None else a, version)

    random.seed("heraci:" + name)
    random.Random.seed = seeded
    random._urandom = os.urandom = urandom
    uuid.uuid4 = uuid.uuid1 = new_uuid


def _sort_listings():
    """List folders in one order everywhere; file systems have orders of their own."""
    listdir, scandir = os.listdir, os.scandir

    @functools.wraps(listdir)
    def sorted_listdir(*args, **options):
        return sorted(listdir(*args, **options))

    class Scan:
        def __init__(self, *args, **options):
            with scandir(*args, **options) as entries:
                self.entries = iter(sorted(entries, key=lambda entry: entry.name))

        def __iter__(self):
            return self.entries

        def __next__(self):
            return next(self.entries)

        def __enter__(self):
            return self

        def __exit__(self, *raised):
            return None

        def close(self):
            return None

    os.listdir, os.scandir = sorted_listdir, Scan


def _version_of(package):
    try:
        from importlib.metadata import version

        return version(package)
    except Exception:
        return None


def main():
    """Run the job given on one file descriptor and write its result to another, once."""
    source, sink = (int(each) for each in sys.argv[1:3])
    # This file's folder holds modules that an experiment must not import by accident.
    del sys.path[0]
    with os.fdopen(source, "rb") as file:
        job = json.load(file)
    if job.get("authors"):
        sys.path.append(job["authors"])
    run = Run()
    run.install()
    send(sink, run.result(job))


def send(sink, result):
    """Write a result; one that JSON cannot hold becomes the failure that it is."""
    with os.fdopen(sink, "w", encoding="utf-8") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
