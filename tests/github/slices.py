"""Cut what the tests need out of GitHub's own descriptions, from its packages on npm.

    npm install --prefix FOLDER @octokit/openapi@23.0.2 @octokit/webhooks-examples@7.6.1 \
        @octokit/webhooks-schemas@7.6.1 @actions/core@3.0.1
    python -m tests.github.slices FOLDER

All four are GitHub's, under the MIT licence; data/NOTICE repeats it. OpenAPI 3.0 is made JSON
Schema on the way, so that one validator does for all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
OPERATIONS = {
    "/repos/{owner}/{repo}/actions/artifacts": ["get"],
    "/repos/{owner}/{repo}/actions/artifacts/{artifact_id}/{archive_format}": ["get"],
    "/repos/{owner}/{repo}/actions/runs/{run_id}": ["get"],
    "/repos/{owner}/{repo}/commits/{commit_sha}/pulls": ["get"],
    "/repos/{owner}/{repo}/deployments": ["get", "post"],
    "/repos/{owner}/{repo}/deployments/{deployment_id}/statuses": ["get", "post"],
    "/repos/{owner}/{repo}/issues/comments/{comment_id}": ["patch", "delete"],
    "/repos/{owner}/{repo}/issues/{issue_number}/comments": ["get", "post"],
    "/repos/{owner}/{repo}/pulls/{pull_number}": ["get"],
}
# Which of the examples, by event; the others only differ in what heraci never reads.
PAYLOADS = {"pull_request": 22, "push": 4, "merge_group": 1, "workflow_dispatch": 1}
DEFINITIONS = (
    "pull_request$synchronize",
    "pull_request$closed",
    "push$event",
    "merge_group$checks_requested",
    "workflow_dispatch$event",
)
_PROSE = {"description", "example", "examples", "externalDocs", "title", "deprecated", "summary"}


def main(packages: Path) -> None:
    """Write all slices."""
    modules = packages / "node_modules"
    openapi = _read(modules / "@octokit/openapi/generated/api.github.com.json")
    _write("openapi.json", api_slice(openapi))
    examples = {
        each["name"]: each["examples"]
        for each in _read(modules / "@octokit/webhooks-examples/api.github.com/index.json")
    }
    _write("payloads.json", {name: examples[name][index] for name, index in PAYLOADS.items()})
    schemas = _read(modules / "@octokit/webhooks-schemas/schema.json")
    _write("events.json", event_slice(schemas))
    oracle = Path(__file__).with_name("core.mjs")
    printed = subprocess.run(
        ["node", oracle.resolve(), (modules / "@actions/core/lib/core.js").resolve()],
        check=True,
        capture_output=True,
        text=True,
    )
    _write("core.json", json.loads(printed.stdout))


def api_slice(openapi: dict[str, Any]) -> dict[str, Any]:
    """Keep the operations that heraci uses, with all that their schemas refer to."""
    paths = {
        path: {method: _operation(openapi, path, method) for method in methods}
        for path, methods in OPERATIONS.items()
    }
    schemas: dict[str, Any] = {}
    for name in _referred(paths, "#/components/schemas/", openapi["components"]["schemas"]):
        schemas[name] = _json_schema(openapi["components"]["schemas"][name])
    # GitHub's own example of a pull request lacks it, and so do its answers.
    schemas["team-simple"]["required"].remove("type")
    return {
        "version": openapi["info"]["version"],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(openapi: dict[str, Any], path: str, method: str) -> dict[str, Any]:
    operation = openapi["paths"][path][method]
    parameters = [_resolved(openapi, each) for each in operation.get("parameters", ())]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    answers = {}
    for status, answer in operation["responses"].items():
        content = _resolved(openapi, answer).get("content", {}).get("application/json")
        answers[status] = {
            "schema": _json_schema(content["schema"]) if content else None,
            "example": _example(openapi, content) if content else None,
        }
    return {
        "query": {
            each["name"]: _json_schema(each["schema"])
            for each in parameters
            if each["in"] == "query"
        },
        "body": _json_schema(body["schema"]) if body else None,
        "answers": answers,
    }


def _example(openapi: dict[str, Any], content: dict[str, Any]) -> Any:
    for each in content.get("examples", {}).values():
        return _resolved(openapi, each)["value"]
    return None


def _resolved(openapi: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        _, _, kind, name = node["$ref"].split("/", 3)
        node = openapi["components"][kind][name]
    return node


def _json_schema(node: Any) -> Any:
    """Turn OpenAPI 3.0's `nullable` into JSON Schema, and leave out the prose."""
    if isinstance(node, list):
        return [_json_schema(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = {
        key: _properties(value) if key == "properties" else _json_schema(value)
        for key, value in node.items()
        if key not in _PROSE | {"nullable"} and not key.startswith("x-")
    }
    if node.get("nullable"):
        made = {"anyOf": [made, {"type": "null"}]}
    return made


def _properties(node: dict[str, Any]) -> dict[str, Any]:
    # A property may be called `description` too.
    return {key: _json_schema(value) for key, value in node.items()}


def _referred(node: Any, prefix: str, pool: dict[str, Any]) -> list[str]:
    found: list[str] = []
    waiting = [node]
    while waiting:
        for reference in _references(waiting.pop(), prefix):
            if reference not in found:
                found.append(reference)
                waiting.append(pool[reference])
    return sorted(found)


def _references(node: Any, prefix: str) -> Iterator[str]:
    if isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith(prefix):
            yield reference.removeprefix(prefix)
        for value in node.values():
            yield from _references(value, prefix)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value, prefix)


def event_slice(schemas: dict[str, Any]) -> dict[str, Any]:
    """Keep the definitions of the events that heraci reads."""
    pool = schemas["definitions"]
    named = {"kept": [{"$ref": f"#/definitions/{name}"} for name in DEFINITIONS]}
    kept = _referred(named, "#/definitions/", pool)
    return {"definitions": {name: _json_schema(pool[name]) for name in kept}}


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(name: str, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    (DATA / name).write_text(f"{text}\n", encoding="utf-8")
    print(f"{name}: {len(text)} characters")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
