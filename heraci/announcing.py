"""What a run of CI finds out before it submits, and tells afterwards: reviews, runs, deployments.

Nothing of it decides whether a submission was right: that GitHub could not be told is a warning,
never a failed submission.
"""

from __future__ import annotations

import re
import tempfile
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from heraci import bundle, github, report
from heraci import review as rendering
from heraci.bundle import Bundle, Finding, Severity, errors_of
from heraci.errors import BundleError, GitHubError
from heraci.github import DeploymentState, Event, GitHub, PullRequest, Runner
from heraci.pipeline import Leave, Listener, Submitted
from heraci.publication import Sought
from heraci.publishing import client, digest_of, key_of, outputs
from heraci.review.markdown import code
from heraci.reviewed import Agreement, Verdict, compare
from heraci.settings import Settings
from heraci.submission_report import Told
from heraci.submit import Fate, Run, What
from heraci.submit.follow import run_of

ARTIFACT = "heraci-review"
MOST_COMMITS = 20
ROWS_BYTES = 40_000
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


def find_reviews(settings: Settings, event: Event, commits: Sequence[str]) -> Reviews:
    """Find the artifacts of the newest review runs for commits, the newest of them first."""
    api = client(settings, event)
    if api is None:
        return Reviews(
            why_none="no github-token was given, and nothing else knows what was reviewed"
        )
    branch = event.ref.removeprefix("refs/heads/")
    try:
        pulls = _merged(api, commits, branch)
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


def _merged(api: GitHub, commits: Sequence[str], branch: str) -> list[PullRequest]:
    """List the pull requests that brought commits, the oldest first; usually it is one."""
    found: dict[int, PullRequest] = {}
    for number, sha in enumerate(commits[:MOST_COMMITS]):
        pull = github.merged_pull_request(api, sha, branch, patient=number == 0)
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
        self, settings: Settings, event: Event, commit: str, pulls: Sequence[PullRequest]
    ) -> None:
        self._settings, self._event, self._commit, self._pulls = settings, event, commit, pulls
        self._api = client(settings, event)
        self._deployment: github.Deployment | None = None
        self._failed = False

    def begin(self, digest: str, names: Sequence[str]) -> None:
        """Make the deployment, before anything is submitted."""
        target = self._settings.target or self._settings.namespace or "default"

        def make(api: GitHub) -> None:
            self._deployment = github.deploy(
                api,
                self._commit,
                target,
                description=f"{len(names)} experiments",
                payload={"digest": digest, "experiments": list(names)[:100]},
            )
            self._set(api, DeploymentState.IN_PROGRESS, "")

        self._tell(make)

    def comment(self, text: str) -> None:
        """Write the runs below the reviews of what was merged."""

        def make(api: GitHub) -> None:
            run = github.Run(self._event.run_id, self._event.run_attempt)
            for pull in self._pulls if self._settings.comment else ():
                github.amend(api, pull.number, key_of(self._settings), run, text)

        self._tell(make)

    def end(self, told: str, url: str | None, *, failed: bool) -> None:
        """Set the deployment's state."""
        state = DeploymentState.FAILURE if failed else DeploymentState.SUCCESS
        self._tell(lambda api: self._set(api, state, told, url))
        if self._api is not None:
            self._api.close()

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
        if self._api is None or self._failed:
            return
        try:
            make(self._api)
        except GitHubError as error:
            self._failed = True
            finding = Finding(
                rule="github-not-told",
                severity=Severity.WARNING,
                message=f"GitHub does not show this submission: {error}",
            )
            print("\n".join(report.commands([finding])))


def _runs_of(fates: Sequence[Fate], runs: Sequence[Run]) -> tuple[Run, ...]:
    """Give the runs that were followed, else the workflows as they were when they were made."""
    made = (run_of(each.document) for each in fates if each.document and _is_run(each))
    return tuple(runs) or tuple(made)


def _is_run(fate: Fate) -> bool:
    return fate.submission.kind == "Workflow"


def submission_text(
    commit: str,
    fates: Sequence[Fate],
    runs: Sequence[Run],
    event: Event,
    link: Callable[[Run], str | None],
) -> str:
    """Write what was submitted and how it fares as a table, for the comment and the summary."""
    here = f"[this run]({event.run_url})"
    if not fates:
        return f"### Nothing was submitted at {code(commit[:10], 10)} by {here}\n"
    by_name = {(each.namespace, each.name): each for each in _runs_of(fates, runs)}
    lines = [
        f"### Submitted at {code(commit[:10], 10)} by {here}",
        "",
        "| Experiment | On the cluster | State |",
        "|-|-|-|",
    ]
    rows = []
    for fate in fates:
        one = fate.submission
        run = by_name.get((one.namespace or "", one.name))
        name = code(f"{one.kind} {one.name}", 160, cell=True)
        url = link(run) if run else None
        # The address is ours, with the namespace and the name in it that the cluster took.
        place = f"[{name}](<{url}>)" if url and ">" not in url else name
        rows.append(f"| {code(one.experiment, 80, cell=True)} | {place} | {_state(fate, run)} |")
    # What failed comes first, and what does not fit is left out: a comment has its limit.
    rows.sort(key=lambda row: "❌" not in row)
    sizes = list(accumulate(len(row.encode()) for row in rows))
    shown = bisect(sizes, ROWS_BYTES)
    lines += rows[:shown]
    if shown < len(rows):
        lines += ["", f"And {len(rows) - shown} more: see {here}."]
    return "\n".join(lines) + "\n"


def _state(fate: Fate, run: Run | None) -> str:
    if fate.what is What.FAILED:
        return f"❌ {code(fate.message, 200, cell=True)}"
    if run is None:
        return str(fate.what)
    again = " (was there already)" if fate.what is What.ALREADY_THERE else ""
    return f"{_MARKS.get(str(run.phase), '')} {run.phase}{again}"


# --- the submission as a whole -------------------------------------------------------------------


class Announced(Listener):
    """Hears of a submission in CI: holds it against the reviews, and tells GitHub of it."""

    def __init__(
        self,
        told: Told,
        settings: Settings,
        event: Event,
        runner: Runner,
        link: Callable[[Run], str | None],
    ) -> None:
        super().__init__(told)
        self._settings, self._event, self._runner, self._link = settings, event, runner, link
        self._made = Bundle()
        self._verdict = Verdict(agreement=Agreement.SAME)
        self._fates: list[Fate] = []
        self._announcer: Announcer | None = None

    def begin(self, made: Bundle, between: Sequence[str]) -> Leave:
        """Compare with what was reviewed; where that allows it, tell that it begins."""
        self._made = made
        commit = made.commit or self._event.sha
        brought = [str(each["id"]) for each in self._event.payload.get("commits") or ()]
        commits = list(dict.fromkeys([commit, *reversed(brought), *between]))
        reviews = find_reviews(self._settings, self._event, commits)
        self._verdict = compare(
            made,
            reviews.bundles,
            on_mismatch=self._settings.on_mismatch,
            on_not_reviewed=self._settings.on_not_reviewed,
            why_not=reviews.why_none,
            unchanged=self._settings.submit_unchanged,
        )
        if made.experiments and not self._settings.dry_run:
            self._announcer = Announcer(self._settings, self._event, commit, reviews.pull_requests)
            if not errors_of((*made.findings, *self._verdict.findings)):
                self._announcer.begin(digest_of(made), [each.name for each in made.experiments])
        pull = reviews.pull_requests[-1].url if reviews.pull_requests else None
        return Leave(
            findings=self._verdict.findings,
            origin={
                "repository": self._event.repository,
                "pull_request": pull or self._event.pull_request_url,
                "actor": self._event.actor,
                "ci_run": self._event.run_url,
            },
        )

    def fate(self, fate: Fate) -> None:
        """Keep each fate: what was submitted is told even where the rest breaks off."""
        self._fates.append(fate)
        super().fate(fate)

    def submitted(self) -> None:
        """Tell where the runs are, before anybody waits for their end."""
        if self._announcer is not None and self._settings.wait:
            self._announcer.comment(self._text((), ()))

    def end(self, result: Submitted | None) -> None:
        """Tell how it ended: GitHub, the summary, and the outputs."""
        super().end(result)
        runs = result.runs if result else ()
        exit_code = result.exit_code if result else 3
        findings = result.findings if result else self._verdict.findings
        text = self._text(runs, findings)
        if self._announcer is not None:
            self._announcer.comment(text)
            told = Counter(str(each.what) for each in self._fates)
            url = next(filter(None, map(self._link, _runs_of(self._fates, runs))), None)
            self._announcer.end(
                ", ".join(f"{count} {what}" for what, count in told.items()),
                url,
                failed=exit_code != 0,
            )
        if result is None and findings:
            print("\n".join(report.commands(findings)))
        self._runner.write_summary(text)
        self._runner.set_outputs(
            outputs(
                self._made,
                findings,
                folder=str(self._settings.bundle or ""),
                exit_code=exit_code,
                fates=self._fates,
                verdict=self._verdict,
            )
        )

    def _text(self, runs: Sequence[Run], findings: Sequence[Finding]) -> str:
        commit = self._made.commit or self._event.sha
        text = submission_text(commit, self._fates, runs, self._event, self._link)
        loud = [each for each in findings if each.severity is not Severity.NOTICE]
        if loud:
            text += f"\n{rendering.findings(loud)}"
        secrets = [each.get_secret_value() for each in self._settings.secrets()]
        if Sought(secrets).stands_in(text):
            return "### Submitted\n\nA secret stands in what was submitted, so it is not shown.\n"
        return text
