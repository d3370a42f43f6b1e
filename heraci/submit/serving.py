"""Let a template that heraci made for one run or cron go when that goes.

Clusters that only take references get a template beside each run. It must stay as long as its run,
which a controller in `Secure` mode compares with it again and again; then nobody needs it any more.
So it is owned by what it serves, and Kubernetes removes it with that.
"""

from __future__ import annotations

from collections.abc import Sequence

from heraci.submit import values as v
from heraci.submit.values import Document, Server


def tie(server: Server, template: Document, kind: str, owner: Document) -> None:
    """Let the template be removed together with its owner, of which the metadata is enough."""
    if not _owned(template, owner):
        _give(server, template, kind, [owner])


def retire(server: Server, name: str, cron: Document) -> None:
    """Leave a template that a cron has used until now to those of its runs that still refer to it.

    An author's own template is none that the cron owns, and stays.
    """
    namespace = cron["metadata"]["namespace"]
    template = server.find("WorkflowTemplate", namespace, name)
    if template is None or not _owned(template, cron):
        return
    selector = f"{v.CRON_LABEL}={cron['metadata']['name']}"
    runs, _ = server.objects("Workflow", namespace, selector)
    if users := [each for each in runs if template_of(each) == name]:
        _give(server, template, "Workflow", users)
    else:
        server.delete("WorkflowTemplate", namespace, name)


def template_of(document: Document) -> str | None:
    """Return the name of the template that a run or cron is made from, if it is."""
    spec = document.get("spec") or {}
    reference = (spec.get("workflowSpec") or spec).get("workflowTemplateRef") or {}
    name: str | None = reference.get("name")
    return name


def _owned(template: Document, owner: Document) -> bool:
    owners = template["metadata"].get("ownerReferences") or ()
    return owner["metadata"]["uid"] in {each["uid"] for each in owners}


def _give(server: Server, template: Document, kind: str, owners: Sequence[Document]) -> None:
    references = [
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": kind,
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        for owner in owners
    ]
    metadata = template["metadata"]
    change = {"metadata": {"ownerReferences": references}}
    server.patch("WorkflowTemplate", metadata["namespace"], metadata["name"], change)
