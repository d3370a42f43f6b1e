"""Stand in for Argo's resource definitions where Argo itself cannot be had.

A double, used only when HERACI_TEST_ARGO=none was asked for: it has Argo's kinds, scopes and
top-level fields, so that objects can be stored and rights checked, but it looks at nothing below
`spec` and no controller acts on them.
"""

KINDS = {
    "ClusterWorkflowTemplate": ["spec"],
    "CronWorkflow": ["spec", "status"],
    "Workflow": ["spec", "status"],
    "WorkflowArtifactGCTask": ["spec", "status"],
    "WorkflowEventBinding": ["spec"],
    "WorkflowTaskResult": ["message", "outputs", "phase", "progress"],
    "WorkflowTaskSet": ["spec", "status"],
    "WorkflowTemplate": ["spec"],
}


def definitions() -> dict[str, dict[str, object]]:
    """Return each resource definition by its name."""
    made: dict[str, dict[str, object]] = {}
    for kind, fields in KINDS.items():
        plural = kind.lower() + "s"
        loose = {"x-kubernetes-preserve-unknown-fields": True}
        properties: dict[str, object] = dict.fromkeys(fields, loose)
        for field in {"spec", "status"} & set(fields):
            properties[field] = {"type": "object", **loose}
        for field in ("apiVersion", "kind"):
            properties[field] = {"type": "string"}
        schema: dict[str, object] = {
            "type": "object",
            "properties": {**properties, "metadata": {"type": "object"}},
            "required": ["metadata", *(["spec"] if "spec" in fields else [])],
        }
        version: dict[str, object] = {
            "name": "v1alpha1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": schema},
        }
        if kind in ("WorkflowArtifactGCTask", "WorkflowTaskSet"):
            version["subresources"] = {"status": {}}
        name = f"{plural}.argoproj.io"
        made[name] = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {
                "group": "argoproj.io",
                "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                "scope": "Cluster" if kind.startswith("Cluster") else "Namespaced",
                "versions": [version],
            },
        }
    return made
