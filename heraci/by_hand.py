"""Give a script that a person runs by hand the target's Argo Server, as heraci's settings say."""

from __future__ import annotations

import os
from pathlib import Path


def configure_hera(target: str | None = None) -> None:
    """Set Hera's global configuration: host, token, namespace and service account of a target.

    Call it before the workflow is made, in a script that is also run without heraci: Hera puts the
    namespace into it at once. While heraci compiles the script it does nothing. SettingsError says
    what is missing.
    """
    if "HERACI" in os.environ:  # a worker's environ: the calls are recorded, not sent
        return
    from hera.shared import global_config

    from heraci.errors import SettingsError
    from heraci.settings import Settings
    from heraci.workspace import Workspace

    flags = {"target": target}
    with Workspace(Path.cwd(), os.environ, flags) as where:
        settings = Settings.load(flags, environ=os.environ, directory=where.root)
    if settings.argo_server is None:
        raise SettingsError(
            "no Argo Server is set: write argo-server into the target's table of heraci.toml, "
            "or set ARGO_SERVER"
        )
    global_config.host = settings.argo_server
    global_config.verify_ssl = not settings.insecure_skip_tls_verify
    global_config.namespace = settings.namespace
    global_config.service_account_name = settings.service_account
    if settings.argo_token is not None:
        global_config.token = settings.argo_token.get_secret_value()
