"""Run the template `summarize-results` every night."""

from hera.workflows import CronWorkflow, Parameter
from hera.workflows.models import WorkflowTemplateRef

from heraci import Experiment


class NightlySummary(Experiment):
    def workflow(self) -> CronWorkflow:
        return CronWorkflow(
            name="nightly-summary",
            schedules=["15 3 * * *"],
            timezone="Europe/Paris",
            # A night that takes too long is left to end; the next one is skipped.
            concurrency_policy="Forbid",
            starting_deadline_seconds=3600,
            successful_jobs_history_limit=3,
            failed_jobs_history_limit=7,
            workflow_template_ref=WorkflowTemplateRef(name="summarize-results"),
            arguments=[Parameter(name="folder", value="/data/collect")],
        )
