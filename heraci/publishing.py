"""What a run of CI tells of its review: the summary, the annotations, the comment, the outputs.

Everything is searched for secrets before any of it leaves.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from heraci import bundle_folder, github, publication, report
from heraci import review as rendering
from heraci.bundle import Bundle, Finding, Severity, Status, errors_of
from heraci.comparison import Review
from heraci.errors import GitHubError, HeraciError, SettingsError
from heraci.github import Comment, Event, GitHub, Runner, Written
from heraci.reviewed import Verdict
from heraci.settings import Settings
from heraci.submit import Fate, What

PAGE = "review.html"
TEXT = "review.md"


def client(settings: Settings, event: Event) -> GitHub | None:
    """Give the way to GitHub's API; None where no token was given."""
    if settings.github_token is None:
        return None
    return GitHub(settings.github_token, event.repository, api_url=event.api_url)


def key_of(settings: Settings) -> str:
    """Tell apart what several targets say about one pull request."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", settings.target or "")[:80]
    return f"review.{name}" if name else "review"


# --- the review ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Texts:
    """A review as it goes out: to the comment, to the summary, into the artifact."""

    comment: str
    summary: str
    page: str


def review_texts(review: Review, event: Event, secrets: Iterable[str]) -> tuple[Review, Texts]:
    """Write a review for all its readers; with a secret in it, one that says that alone."""
    shown = replace(
        review,
        source_url=f"{event.server_url}/{event.repository}/blob/{event.head_sha}/",
        elsewhere="this run's summary and artifact",
        elsewhere_url=event.run_url,
    )
    texts = _texts(shown)
    known = list(secrets)
    messages = [each.message for each in review.findings]
    leaks = publication.search(
        review.bundle, known, texts.comment, texts.summary, texts.page, *messages
    )
    if not leaks:
        return shown, texts
    withheld = Review(
        bundle=replace(_without_content(review.bundle), findings=leaks),
        findings=leaks,
        elsewhere=shown.elsewhere,
        elsewhere_url=shown.elsewhere_url,
    )
    texts = _texts(withheld)
    sought = publication.Sought(known)
    if any(map(sought.stands_in, (texts.comment, texts.summary, texts.page))):
        # An experiment that is called like a secret.
        raise HeraciError("a secret stands in an experiment's name or path; nothing was published")
    return withheld, texts


def _texts(review: Review) -> Texts:
    return Texts(
        comment=rendering.markdown(review, rendering.COMMENT),
        summary=rendering.markdown(review, rendering.SUMMARY),
        page=rendering.page(review),
    )


def publishable(made: Bundle, settings: Settings) -> Bundle:
    """Give a bundle as it may be shown; with a secret in it, one that says that alone."""
    secrets = [each.get_secret_value() for each in settings.secrets()]
    leaks = publication.search(made, secrets)
    if any(publication.Sought(secrets).stands_in(f"{e.name} {e.path}") for e in made.experiments):
        raise HeraciError("a secret stands in an experiment's name or path; nothing was published")
    return replace(_without_content(made), findings=leaks) if leaks else made


def _without_content(made: Bundle) -> Bundle:
    return Bundle(
        target=made.target, commit=made.commit, base=made.base, merge_base=made.merge_base
    )


def publish_review(
    review: Review, settings: Settings, event: Event, runner: Runner, folder: Path | None
) -> Review:
    """Publish a review: summary, annotations, comment, and the pages beside the bundle.

    Gives the review as it went out; its findings decide the exit code.
    """
    secrets = [each.get_secret_value() for each in settings.secrets()]
    shown, texts = review_texts(review, event, secrets)
    runner.write_summary(texts.summary)
    if folder is not None:
        bundle_folder.write_beside(folder, {TEXT: texts.summary, PAGE: texts.page})
    comment = _write_comment(texts.comment, settings, event)
    if comment is not None and comment.what in (Written.REFUSED, Written.OUTDATED):
        shown = replace(shown, findings=(*shown.findings, _comment_notice(comment)))
    print("\n".join(report.commands(shown.findings)))
    return shown


def _write_comment(text: str, settings: Settings, event: Event) -> Comment | None:
    """Write the one comment; where GitHub fails us, the summary has told everything."""
    api = client(settings, event)
    if api is None or event.pull_request is None or not settings.comment:
        return None
    run = github.Run(event.run_id, event.run_attempt)
    try:
        return github.upsert(
            api, event.pull_request, key_of(settings), run, text, head=event.head_sha
        )
    except GitHubError as error:
        return Comment(what=Written.REFUSED, message=str(error))
    finally:
        api.close()


def _comment_notice(comment: Comment) -> Finding:
    return Finding(
        rule="comment-not-written",
        severity=Severity.NOTICE,
        message=f"the review is in this step's summary alone: {comment.message}",
    )


def own_folder(folder: Path) -> Path:
    """Refuse a folder that a link of the repository leads to: it may lead anywhere."""
    for each in (folder, *folder.parents):
        if each.is_symlink() and not folder.is_absolute():
            raise SettingsError(
                f"{each} is a link, and in CI heraci writes into folders of the repository alone: "
                "remove it, or choose another `output`"
            )
    return folder


def finish_review(review: Review, settings: Settings, event: Event, runner: Runner) -> int:
    """Publish a review, keep its bundle where it was compiled here, and give the exit code."""
    folder = own_folder(settings.bundle or settings.output)
    shown = publish_review(review, settings, event, runner, folder)
    leaked = any(each.rule == publication.RULE for each in shown.findings)
    if settings.bundle is None and not leaked:
        bundle_folder.write(review.bundle, folder)
    code = int(bool(errors_of(shown.findings)))
    made = shown.bundle if leaked else review.bundle
    runner.set_outputs(outputs(made, shown.findings, folder=str(folder), exit_code=code))
    return code


# --- outputs -------------------------------------------------------------------------------------


def outputs(
    made: Bundle,
    findings: Iterable[Finding],
    *,
    folder: str | None,
    exit_code: int,
    fates: Sequence[Fate] = (),
    verdict: Verdict | None = None,
) -> dict[str, str]:
    """Give the Action's outputs: names and numbers, never what an experiment wrote."""
    counts = Counter(str(each.severity) for each in findings)
    changed = (Status.ADDED, Status.CHANGED, Status.REMOVED)
    values: dict[str, object] = {
        "affected": [
            each.name for each in made.experiments if each.status is not Status.UNAFFECTED
        ],
        "changed": [each.name for each in made.experiments if each.status in changed],
        "bundle": folder or "",
        "findings": {str(each): counts[str(each)] for each in Severity},
        "digest": digest_of(made),
        "submitted": [str(each.submission) for each in fates if each.what in _THERE],
        "reviewed": str(verdict.agreement) if verdict else "not-asked",
        "reason": verdict.reason if verdict else "",
    }
    values["result"] = values | {"exit-code": exit_code}
    return {name: each if isinstance(each, str) else _json(each) for name, each in values.items()}


_THERE = frozenset({What.CREATED, What.APPLIED, What.ALREADY_THERE, What.UNCHANGED})


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True)


def digest_of(made: Bundle) -> str:
    """Take one digest of all manifests: equal for two bundles that would start the same."""
    lines = sorted(
        json.dumps([one.name, each.kind, each.namespace, each.name, each.digest])
        for one, each in made.manifests
    )
    return f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"
