"""What a run of CI tells the world: the review, what was reviewed before, and what was submitted.

Everything is searched for secrets before any of it leaves, and nothing of it decides whether the
work was right: that GitHub could not be told is a warning, never a failed submission.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from heraci import bundle, github, publication
from heraci import review as rendering
from heraci.bundle import Bundle, Finding, Severity, Status
from heraci.comparison import Review
from heraci.errors import BundleError, GitHubError, HeraciError
from heraci.github import Comment, DeploymentState, Event, GitHub, PullRequest, Runner, Written
from heraci.review.markdown import code
from heraci.reviewed import Verdict
from heraci.settings import Settings
from heraci.submit import Fate, Run, What

ARTIFACT = "heraci-review"
PAGE = "review.html"
TEXT = "review.md"
MOST_PULL_REQUESTS = 20
MOST_ROWS = 200
_MARKS = {
    "Succeeded": "✅",
    "Failed": "❌",
    "Error": "❌",
    "Deleted": "❌",
    "Running": "▶️",
    "Pending": "⏳",
}


def client(settings: Settings, event: Event) -> GitHub | None:
    """Give the way to GitHub's API; None where no token was given."""
    if settings.github_token is None:
        return None
    return GitHub(settings.github_token, event.repository, api_url=event.api_url)


def _key(settings: Settings) -> str:
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
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TEXT).write_text(texts.summary, encoding="utf-8")
        (folder / PAGE).write_text(texts.page, encoding="utf-8")
    comment = _write_comment(texts.comment, settings, event)
    if comment is not None and comment.what in (Written.REFUSED, Written.OUTDATED):
        shown = replace(shown, findings=(*shown.findings, _comment_notice(comment)))
    chosen = rendering.annotated(shown.findings)
    print("\n".join(github.annotations(chosen.shown)))
    return shown


def _write_comment(text: str, settings: Settings, event: Event) -> Comment | None:
    """Write the one comment; where GitHub fails us, the summary has told everything."""
    api = client(settings, event)
    if api is None or event.pull_request is None or not settings.comment:
        return None
    run = github.Run(event.run_id, event.run_attempt)
    try:
        return github.upsert(
            api, event.pull_request, _key(settings), run, text, head=event.head_sha
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


# --- what was reviewed ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Reviews:
    """The reviews of what was merged, the newest last; `why_none` where there are none."""

    bundles: tuple[Bundle, ...] = ()
    pull_requests: tuple[PullRequest, ...] = ()
    why_none: str = ""


def find_reviews(settings: Settings, event: Event) -> Reviews:
    """Find the artifacts of the newest review runs for what an event merged."""
    api = client(settings, event)
    if api is None:
        return Reviews(
            why_none="no github-token was given, and nothing else knows what was reviewed"
        )
    branch = event.ref.removeprefix("refs/heads/")
    try:
        pulls = _merged(api, event, branch)
        found, reasons = [], []
        for pull in pulls:
            made, reason = _review_of(api, settings, pull)
            found += [made] if made else []
            reasons += [reason] if reason else []
    except GitHubError as error:
        return Reviews(why_none=str(error))
    finally:
        api.close()
    if not pulls:
        reasons = ["it was pushed to the branch without a pull request"]
    return Reviews(
        bundles=tuple(found), pull_requests=tuple(pulls), why_none="; ".join(reasons[:3])
    )


def _merged(api: GitHub, event: Event, branch: str) -> list[PullRequest]:
    """List the pull requests that a push brought, the oldest first; usually it is one."""
    commits = [str(each["id"]) for each in event.payload.get("commits") or ()]
    newest_first = dict.fromkeys([event.sha, *reversed(commits)])
    found: dict[int, PullRequest] = {}
    for sha in list(newest_first)[:MOST_PULL_REQUESTS]:
        pull = github.merged_pull_request(api, sha, branch, patient=sha == event.sha)
        if pull is not None:
            found.setdefault(pull.number, pull)
    return sorted(found.values(), key=lambda each: each.merged_at)


def _review_of(
    api: GitHub, settings: Settings, pull: PullRequest
) -> tuple[Bundle | None, str | None]:
    """Read the bundle of a pull request's newest review, for this run's target."""
    heads = [each for each in (pull.head_sha, pull.merge_sha) if each]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", settings.target or "")
    for candidate in dict.fromkeys([f"{ARTIFACT}-{name}", ARTIFACT]):
        artifact = github.newest_artifact(api, candidate, heads)
        if artifact is None:
            continue
        if artifact.expired:
            return None, f"the review of #{pull.number} is expired ({artifact.run_url})"
        with tempfile.TemporaryDirectory(prefix="heraci-reviewed-") as folder:
            try:
                github.download(api, artifact, Path(folder))
                made = _whole(bundle.load(Path(folder)))
            except (BundleError, GitHubError) as error:
                return None, f"the review of #{pull.number} cannot be read: {error}"
        if made.target == settings.target:
            return made, None
    return None, f"#{pull.number} has no review of its last commit for {settings.target}"


def _whole(made: Bundle) -> Bundle:
    """Keep what is compared; the documents are read from a folder that goes away."""
    return replace(
        made,
        experiments=tuple(
            replace(
                each,
                base_manifests=(),
                manifests=tuple(replace(one, document={}) for one in each.manifests),
            )
            for each in made.experiments
        ),
    )


# --- the submission ------------------------------------------------------------------------------


class Announcer:
    """Tells GitHub of a submission: a deployment with its state, and the runs in the comment."""

    def __init__(
        self,
        settings: Settings,
        event: Event,
        pulls: Sequence[PullRequest],
        link: Callable[[Run], str | None],
    ) -> None:
        self._settings, self._event, self._pulls, self._link = settings, event, pulls, link
        self._api = client(settings, event)
        self._deployment: github.Deployment | None = None
        self.failed = ""

    def begin(self, digest: str, names: Sequence[str]) -> None:
        """Make the deployment, before anything is submitted."""
        target = self._settings.target or self._settings.namespace or "default"

        def make(api: GitHub) -> None:
            self._deployment = github.deploy(
                api,
                self._event.sha,
                target,
                description=f"{len(names)} experiments",
                payload={"digest": digest, "experiments": list(names)[:100]},
            )
            self._set(api, DeploymentState.IN_PROGRESS, "")

        self._tell(make)

    def end(
        self, fates: Sequence[Fate], runs: Sequence[Run], *, failed: bool, waited: bool
    ) -> None:
        """Set the deployment's state, and write the runs below the reviews of what was merged."""
        ended_badly = [each for each in runs if waited and str(each.phase) != "Succeeded"]
        state = DeploymentState.FAILURE if failed or ended_badly else DeploymentState.SUCCESS
        text = submission_text(fates, runs, self._event, self._link)
        told = Counter(str(each.what) for each in fates)
        description = ", ".join(f"{count} {what}" for what, count in told.items())
        url = next(filter(None, map(self._link, runs)), None)

        def make(api: GitHub) -> None:
            self._set(api, state, description, url)
            run = github.Run(self._event.run_id, self._event.run_attempt)
            for pull in self._pulls if self._settings.comment else ():
                github.amend(api, pull.number, _key(self._settings), run, text)

        self._tell(make)

    def _set(self, api: GitHub, state: DeploymentState, told: str, url: str | None = None) -> None:
        if self._deployment is not None:
            github.set_state(
                api,
                self._deployment,
                state,
                description=told,
                log_url=self._event.run_url,
                environment_url=url,
            )

    def _tell(self, make: Callable[[GitHub], None]) -> None:
        if self._api is None or self.failed:
            return
        try:
            make(self._api)
        except GitHubError as error:
            self.failed = str(error)
            finding = Finding(
                rule="github-not-told",
                severity=Severity.WARNING,
                message=f"GitHub does not show this submission: {error}",
            )
            print("\n".join(github.annotations([finding])))


def submission_text(
    fates: Sequence[Fate], runs: Sequence[Run], event: Event, link: Callable[[Run], str | None]
) -> str:
    """Write what was submitted and how it fares as a table, for the comment and the summary."""
    by_name = {(each.namespace, each.name): each for each in runs}
    lines = [
        f"### Submitted at {code(event.sha[:10], 10)} by [this run]({event.run_url})",
        "",
        "| | experiment | on the cluster | |",
        "|-|-|-|-|",
    ]
    for fate in fates[:MOST_ROWS]:
        one = fate.submission
        run = by_name.get((one.namespace or "", one.name))
        name = code(f"{one.kind} {one.name}", 160, cell=True)
        url = link(run) if run else None
        stands = f"{_MARKS.get(str(run.phase), '')} {run.phase}" if run else str(fate.what)
        if fate.what is What.FAILED:
            stands = f"❌ {code(fate.message, 200, cell=True)}"
        # The address is ours, with the namespace and the name in it that the cluster took.
        place = f"[{name}](<{url}>)" if url and ">" not in url else name
        lines.append(f"| | {code(one.experiment, 80, cell=True)} | {place} | {stands} |")
    if len(fates) > MOST_ROWS:
        lines += ["", f"And {len(fates) - MOST_ROWS} more: see this run."]
    return "\n".join(lines) + "\n"


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
        "affected": [each.name for each in made.experiments],
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


def origin(event: Event, pulls: Sequence[PullRequest]) -> Mapping[str, str | None]:
    """Give what a submitted object's annotations tell of where it comes from."""
    return {
        "repository": event.repository,
        "pull_request": pulls[-1].url if pulls else event.pull_request_url,
        "actor": event.actor,
        "ci_run": event.run_url,
    }
