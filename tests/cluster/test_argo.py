"""What is the Argo Server's own: its archive, its conflicts, its errors, its pages.

Before a stand-in, because what is asked here takes an archive's database and conflicts at will;
what the real server does alike on each road is in test_submit.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from heraci import argo
from heraci.argo import ArgoServer, UnauthorizedError, UnreachableError
from heraci.errors import ArgoError
from heraci.submit import Phase, follow, read_ledger, runs, sized, submit
from tests.cluster.local import Cluster as Stack
from tests.cluster.roads import Road, travel
from tests.cluster.standin_argo import StandInArgoServer
from tests.cluster.unreliable import Behaviour, unreliable
from tests.submissions import COMMIT, planned, template, told, workflow


@pytest.fixture
def road(request: pytest.FixtureRequest, cluster: Stack, tmp_path: Path) -> Iterator[Road]:
    with travel("stand-in-argo-server", request, tmp_path) as opened:
        yield opened


@pytest.fixture
def standin(road: Road) -> StandInArgoServer:
    assert road.standin is not None
    return road.standin


def taken_away(road: Road, standin: StandInArgoServer, name: str, phase: str) -> None:
    """Do what Argo's TTL does after the archive has it."""
    found: Any = road.direct.find("Workflow", road.namespace.name, name)
    found["status"] = {"phase": phase}
    found["metadata"]["labels"]["workflows.argoproj.io/workflow-archiving-status"] = "Persisted"
    standin.archive.append(found)
    road.direct.delete("Workflow", road.namespace.name, name)


def test_a_run_that_only_the_archive_knows_is_not_run_again(
    road: Road, standin: StandInArgoServer
) -> None:
    asked = sized(planned(road.namespace.name, workflow("grid-"), workflow("other-")))
    list(submit(asked, road.server))
    taken_away(road, standin, "grid-0123456789", "Succeeded")
    wanted = [
        ("grid-0123456789", "already there", ""),
        ("other-0123456789", "already there", ""),
    ]
    assert told(submit(asked, road.server, archive=road.archive)) == wanted
    # The archive serves who submits by the Kubernetes API, too.
    fates = list(submit(asked, road.direct, archive=road.archive))
    assert told(fates) == wanted
    (gone,) = (each for each in fates if each.submission.stem == "grid")
    (run,) = follow([gone], road.direct, archive=road.archive)
    assert run.phase is Phase.SUCCEEDED
    ledger = read_ledger(road.direct, road.namespace.name, archive=road.archive)
    assert ledger.commits() == (COMMIT,)
    found = runs(road.direct, road.namespace.name, commit=COMMIT, archive=road.archive)
    assert {(each.name, each.archived) for each in found} == {
        ("grid-0123456789", True),
        ("other-0123456789", False),
    }


def test_a_run_that_ttl_takes_away_while_one_waits_has_its_end_from_the_archive(
    road: Road, standin: StandInArgoServer
) -> None:
    fates = list(submit(planned(road.namespace.name, workflow("grid-")), road.server))
    taken_away(road, standin, "grid-0123456789", "Failed")
    (run,) = follow(fates, road.server, archive=road.archive)
    assert (run.phase, run.archived) == (Phase.FAILED, True)


def test_a_conflict_that_is_no_taken_name_is_tried_again(
    road: Road, standin: StandInArgoServer
) -> None:
    asked = planned(road.namespace.name, template("sum"), workflow("grid-"))
    standin.conflicts = 2
    assert told(submit(asked[1:], road.server)) == [("grid-0123456789", "created", "")]
    standin.conflicts = 2
    assert told(submit(asked[:1], road.server)) == [("sum", "created", "")]
    standin.conflicts = 99
    again = planned(road.namespace.name, workflow("new-"))
    ((_, what, message),) = told(submit(again, road.server))
    assert what == "failed"
    assert message.startswith("Operation cannot be fulfilled on resourcequotas")


def test_lost_and_repeated_answers_make_neither_two_runs_nor_none(
    road: Road, standin: StandInArgoServer
) -> None:
    behaviour = Behaviour(lose=0.1, refuse=0.05, repeat=0.1, busy=0.02, failing=0.05)
    stems = [f"many-{number}-" for number in range(60)]
    asked = planned(road.namespace.name, template("sum"), *map(workflow, stems))
    assert isinstance(road.server, ArgoServer)
    with unreliable(standin.address, None, behaviour) as address:
        by_proxy = ArgoServer(address, token=_token(road))
        fates = told(submit(asked, by_proxy))
    assert {what for name, what, _ in fates if name != "sum"} == {"created"}
    items, _ = road.direct.objects("Workflow", road.namespace.name, "")
    assert sorted(each["metadata"]["name"] for each in items) == sorted(
        each.name for each in asked[1:]
    )


def _token(road: Road) -> str:
    account = road.namespace.account(
        "another", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    )
    return account.token


def test_what_is_wrong_with_the_way_in_is_told_with_what_to_do(
    standin: StandInArgoServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(argo, "LONGEST_PAUSE", 0.1)
    for token in (None, "wrong-canary-token"):
        with pytest.raises(UnauthorizedError, match="renew it") as refused:
            ArgoServer(standin.address, token=token).objects("Workflow", "default", "")
        assert "canary" not in str(refused.value)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        ArgoServer("http://127.0.0.1:9", token="t").version()
    with pytest.raises(ArgoError, match="travel in the open"):
        ArgoServer("http://argo.example.org", token="t")
    with pytest.raises(ArgoError, match="does not exist"):
        ArgoServer("https://argo.example.org", ca_certificate=tmp_path / "none.crt")


def test_a_certificate_of_a_stranger_is_not_trusted_unless_asked_for_by_name(
    road: Road, tmp_path: Path
) -> None:
    # The API server stands in for any TLS server here.
    with pytest.raises(ArgoError, match="cannot be trusted"):
        ArgoServer(road.direct.host, token="t").version()
    authority = road.namespace.api.configuration.ssl_ca_cert
    if authority:
        with pytest.raises(UnauthorizedError):
            ArgoServer(road.direct.host, token="t", ca_certificate=Path(authority)).find(
                "Workflow", None, "none"
            )
    with pytest.raises(ArgoError, match=r"401|404"):
        ArgoServer(road.direct.host, token="t", insecure_skip_tls_verify=True).version()


def test_a_token_of_argos_own_login_is_passed_on_as_it_is(standin: StandInArgoServer) -> None:
    with pytest.raises(UnauthorizedError):  # by the API server, which has not given it out
        ArgoServer(standin.address, token="v2:encrypted").version()
    assert standin.heard == ["Bearer v2:encrypted"]


def test_a_netrc_does_not_take_the_tokens_place(
    standin: StandInArgoServer, road: Road, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth(standin.address) == ("somebody", "else")
    road.server.objects("Workflow", road.namespace.name, "")


def test_the_page_of_a_run_is_told() -> None:
    server = ArgoServer("https://argo.example.org", ui="https://ui.example.org/argo/")
    page = "https://ui.example.org/argo/workflows/lab/grid-0123456789?uid=u-1"
    assert server.link("lab", "grid-0123456789", "u-1") == page
    assert repr(ArgoServer("https://argo.example.org", token="canary")) == (
        "ArgoServer('https://argo.example.org')"
    )
