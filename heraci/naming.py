"""Names that tell a run's commit, and fit where Kubernetes and Argo put them."""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode
from collections.abc import Mapping
from typing import Any

# Argo puts a workflow's name into a label of its pods; a cron's name gets a timestamp behind it.
WORKFLOW_NAME = 63
CRON_NAME = 52
LABEL = 63
COMMIT_IN_NAME = 10


# Stands for a commit that is not known yet, where people read a name.
ANY_COMMIT = "<commit>"


def stem(metadata: Mapping[str, Any], experiment: str) -> str:
    """Give what an object's name begins with: its own, else its experiment's."""
    own = str(metadata.get("name") or "") or str(metadata.get("generateName") or "").rstrip("-")
    return own or slug(experiment)


def expected_workflow_name(stem: str) -> str:
    """Give the name that a run will have, with `<commit>` in the place of the commit's part."""
    unknown = "0" * COMMIT_IN_NAME
    return workflow_name(stem, unknown).removesuffix(unknown) + ANY_COMMIT


def workflow_name(stem: str, commit: str, attempt: int = 1) -> str:
    """Give the one name of a run: the same for the same commit, whoever submits it and when."""
    rerun = f"-r{attempt}" if attempt > 1 else ""
    ending = f"-{commit[:COMMIT_IN_NAME]}{rerun}"
    return shortened(slug(stem), WORKFLOW_NAME - len(ending)) + ending


def slug(text: str) -> str:
    """Write a text with what names and labels allow: lower-case letters, digits, dashes, dots."""
    plain = re.sub(r"[^a-z0-9.]+", "-", text.lower())
    return re.sub(r"[-.]*\.[-.]*", ".", plain).strip("-.") or "experiment"


def shortened(text: str, room: int) -> str:
    """Cut a text that is too long, and end it with a hash of the whole."""
    if len(text) <= room:
        return text
    digest = b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:5]
    return f"{text[: room - 6].rstrip('-.')}-{digest}"
