"""What quotas leave, from answers of a cluster."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from heraci.comparison import Room
from heraci.looks import Look, Seen
from heraci.quota import rooms

PATH = "/api/v1/namespaces/lab/resourcequotas"


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {"spec": {"hard": hard, **spec}, "status": {"used": used or {}}}


def test_the_tightest_quota_of_each_resource_counts():
    seen = Seen(
        items=(
            quota({"cpu": "64", "pods": "100"}, {"cpu": "60", "pods": "10"}),
            quota({"requests.cpu": "10", "requests.memory": "1Ti"}, {"requests.cpu": "500m"}),
        )
    )
    assert rooms([(Look(path=PATH), seen)]) == (
        Room(resource="pods", hard=Fraction(100), used=Fraction(10)),
        Room(resource="requests.cpu", hard=Fraction(64), used=Fraction(60)),
        Room(resource="requests.memory", hard=Fraction(1024**4), used=Fraction(0)),
    )


def test_quotas_that_count_some_pods_only_tell_nothing():
    seen = Seen(items=(quota({"cpu": "1"}, scopes=["BestEffort"]), quota({"cpu": "much"})))
    assert rooms([(Look(path=PATH), seen)]) == ()


def test_what_else_was_looked_at_is_no_quota():
    assert rooms([(Look(path="/api/v1/nodes"), Seen(items=(quota({"cpu": "1"}),)))]) == ()
