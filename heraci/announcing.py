"""What a run of CI finds out before it submits, and tells afterwards: reviews, runs, deployments.

Nothing of it decides whether a submission was right: that GitHub could not be told is a warning,
never a failed submission.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from heraci import bundle, github
from heraci.bundle import Bundle, Finding, Severity
from heraci.errors import BundleError, GitHubError
from heraci.github import DeploymentState, Event, GitHub, PullRequest, Runner
from heraci.publication import Sought
from heraci.publishing import client, digest_of, key_of, outputs
from heraci.review.markdown import code
from heraci.reviewed import compare
from heraci.settings import Settings
from heraci.submit import Fate, Run, What
from heraci.submit.follow import run_of

ARTIFACT = "heraci-review"
MOST_COMMITS = 20
MOST_ROWS = 200
_MARKS = {
    "Succeeded": "✅",
    "Failed": "❌",
    "Error": "❌",
    "Deleted": "❌",
    "Running": "▶️",
    "Pending": "⏳",
}


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
    for sha in list(newest_first)[:MOST_COMMITS]:
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
    ) -> None:
        self._settings, self._event, self._pulls = settings, event, pulls
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

    def end(self, fates: Sequence[Fate], text: str, url: str | None, *, failed: bool) -> None:
        """Set the deployment's state, and write the runs below the reviews of what was merged."""
        state = DeploymentState.FAILURE if failed else DeploymentState.SUCCESS
        told = Counter(str(each.what) for each in fates)
        description = ", ".join(f"{count} {what}" for what, count in told.items())

        def make(api: GitHub) -> None:
            self._set(api, state, description, url)
            run = github.Run(self._event.run_id, self._event.run_attempt)
            for pull in self._pulls if self._settings.comment else ():
                github.amend(api, pull.number, key_of(self._settings), run, text)

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


def _runs_of(fates: Sequence[Fate], runs: Sequence[Run]) -> tuple[Run, ...]:
    """Give the runs that were followed, else the workflows as they were when they were made."""
    made = (run_of(each.document) for each in fates if each.document and _is_run(each))
    return tuple(runs) or tuple(made)


def _is_run(fate: Fate) -> bool:
    return fate.submission.kind == "Workflow"


def submission_text(
    fates: Sequence[Fate], runs: Sequence[Run], event: Event, link: Callable[[Run], str | None]
) -> str:
    """Write what was submitted and how it fares as a table, for the comment and the summary."""
    by_name = {(each.namespace, each.name): each for each in _runs_of(fates, runs)}
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


def origin(event: Event, pulls: Sequence[PullRequest]) -> Mapping[str, str | None]:
    """Give what a submitted object's annotations tell of where it comes from."""
    return {
        "repository": event.repository,
        "pull_request": pulls[-1].url if pulls else event.pull_request_url,
        "actor": event.actor,
        "ci_run": event.run_url,
    }


# --- the submission as a whole -------------------------------------------------------------------


class Submission:
    """One submission in CI, from what was reviewed to what is told; the rest is the pipeline's.

    `may_begin` says whether settings and reviews allow it; `origin` is for the annotations.
    """

    def __init__(
        self,
        made: Bundle,
        settings: Settings,
        event: Event,
        runner: Runner,
        link: Callable[[Run], str | None],
    ) -> None:
        self._made, self._settings, self._event, self._runner = made, settings, event, runner
        self._link = link
        reviews = find_reviews(settings, event)
        self.verdict = compare(
            made,
            reviews.bundles,
            on_mismatch=settings.on_mismatch,
            on_not_reviewed=settings.on_not_reviewed,
            why_not=reviews.why_none,
            unchanged=settings.submit_unchanged,
        )
        self.origin = origin(event, reviews.pull_requests)
        self._fates: list[Fate] = []
        self._announcer = Announcer(settings, event, reviews.pull_requests)

    @property
    def may_begin(self) -> bool:
        """Tell whether nothing forbids it."""
        return all(each.severity is not Severity.ERROR for each in self.verdict.findings)

    def hearing(self, on_fate: Callable[[Fate], None]) -> Callable[[Fate], None]:
        """Hear of each fate too: what was submitted is told even where the rest broke off."""

        def hear(fate: Fate) -> None:
            self._fates.append(fate)
            on_fate(fate)

        return hear

    def begin(self) -> None:
        """Tell what was found out, and that it begins."""
        if self.verdict.findings:
            print("\n".join(github.annotations(self.verdict.findings)))
        if self.may_begin and not self._settings.dry_run:
            self._announcer.begin(
                digest_of(self._made), [each.name for each in self._made.experiments]
            )

    def end(
        self,
        runs: Sequence[Run] = (),
        findings: Sequence[Finding] = (),
        *,
        exit_code: int,
    ) -> None:
        """Tell how it ended; call it also where it was not begun, or stopped half-way."""
        fates = self._fates
        text = submission_text(fates, runs, self._event, self._link)
        secrets = [each.get_secret_value() for each in self._settings.secrets()]
        if Sought(secrets).stands_in(text):
            text = "### Submitted\n\nA secret stands in what was submitted, so it is not shown.\n"
        if not self._settings.dry_run and self.may_begin:
            url = next(filter(None, map(self._link, _runs_of(fates, runs))), None)
            self._announcer.end(fates, text, url, failed=exit_code != 0)
        self._runner.write_summary(text)
        values = outputs(
            self._made,
            (*findings, *self.verdict.findings),
            folder=str(self._settings.bundle or self._settings.output),
            exit_code=exit_code,
            fates=fates,
            verdict=self.verdict,
        )
        self._runner.set_outputs(values)
