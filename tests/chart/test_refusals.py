"""Values that contradict each other, mean nothing or would weaken a pod end the render in one sentence."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.chart.chart_render import CHART, Manifest, RefusedError, render

if TYPE_CHECKING:
    from pathlib import Path


SECRETS = {"existingSecret": "login", "existingTlsSecret": "authority"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"agents": {"terminationGracePeriodSeconds": 30}},
            "agents.terminationGracePeriodSeconds is 30 but must be longer than fuse-csi.abortAfterSeconds",
        ),
        (
            {"bridge": {"drainSeconds": 45}},
            "bridge.terminationGracePeriodSeconds is 45 but must be longer than bridge.drainSeconds",
        ),
        (
            {"fuse-csi": {"stopDelaySeconds": 45}},
            "fuse-csi.terminationGracePeriodSeconds is 45 but must be longer than fuse-csi.stopDelaySeconds",
        ),
        ({"enabled": False}, "enabled is for charts that depend on this one"),
        ({"bridge": {"enabled": False}}, "agents need the bridge of their own release"),
        (
            {"bridge": {"extraEnv": [{"name": "LIGHTHOUSE_KEYS_DIR", "value": "/x"}]}},
            'bridge.extraEnv repeats the name "LIGHTHOUSE_KEYS_DIR", which the chart sets itself',
        ),
        (
            {"agents": {"extraVolumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]}},
            'agents.extraVolumes repeats the name "a", which an earlier entry has',
        ),
        (
            {"bridge": {"resources": {"requests": {"cpu": 2}}}},
            "bridge.resources.requests.cpu is 2 but must be at most bridge.resources.limits.cpu, which is 1; lower",
        ),
        (
            {"agents": {"resources": {"limits": {"memory": "90M"}}}},
            "agents.resources.requests.memory is 96Mi but must be at most agents.resources.limits.memory, which is 90M",
        ),
        (
            {"agents": {"fuse": {"resources": {"requests": {"ephemeral-storage": "2049Mi"}}}}},
            "agents.fuse.resources.requests.ephemeral-storage is 2049Mi but must be at most",
        ),
        (
            {"fuse-csi": {"resources": {"requests": {"cpu": "0.501"}}}},
            "fuse-csi.resources.requests.cpu is 0.501 but must be at most fuse-csi.resources.limits.cpu, which is 500m",
        ),
        (
            {"bridge": {"replicas": 3}},
            "bridge.replicas is 3 but SQLite has one writer; set bridge.database.host",
        ),
        (
            {"bridge": {"autoscaling": {"enabled": True}}},
            "true but SQLite has one writer; set bridge.database.host",
        ),
        (
            {"bridge": {"redis": {"host": "r"}}},
            'bridge.redis.host is "r" but one bridge on SQLite shares with nobody',
        ),
        (
            {"bridge": {"database": {"host": "p"}}},
            'bridge.database.host is "p" but bridge.database.existingSecret is empty; name the Secret.',
        ),
        (
            {"bridge": {"redis": {"own": True}}},
            "bridge.redis.own is true but one bridge on SQLite shares with nobody; set bridge.database.own too",
        ),
        (
            {"bridge": {"database": {"readReplicas": True}}},
            "bridge.database.readReplicas is true but bridge.database.own is false; name the replicas",
        ),
        (
            {"bridge": {"database": {"own": True}}},
            "bridge.database.own is true but postgres.enabled is false; set postgres.enabled to true, or",
        ),
        (
            {"bridge": {"database": {"host": "p", **SECRETS}, "redis": {"own": True}}},
            "bridge.redis.own is true but redis.enabled is false; set redis.enabled to true, or",
        ),
        (
            {"bridge": {"rego": {"url": "https://opa/v1/data/x"}}},
            'bridge.rego.url is "https://opa/v1/data/x" but bridge.rego.existingSecret is empty; name the Secret.',
        ),
        (
            {"bridge": {"rego": {"url": "https://opa/v1/data/x", "existingConfigMap": "c"}}},
            'bridge.rego.existingConfigMap is "c"; policies are asked in one place, so keep one.',
        ),
        (
            {"bridge": {"traces": {"url": "http://collector:4318/v1/traces", "existingSecret": "t"}}},
            'bridge.traces.existingSecret is "t" but bridge.traces.url is "http://collector:4318/v1/traces"; write',
        ),
        (
            {"agents": {"fuse": {"cacheMiB": 1640}}},
            "agents.fuse.resources.limits.ephemeral-storage is 2Gi but must be at least 2050Mi",
        ),
    ],
)
def test_values_that_contradict_fail_in_one_sentence(program: Path, values: Manifest, sentence: str) -> None:
    with pytest.raises(RefusedError) as refused:
        render(program, values)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("request_", "limit"),
    [
        ("0.7", "700m"),
        (0.7, "700m"),
        (1, 1),
        ("1000m", 1),
    ],
)
@pytest.mark.parametrize(
    ("size", "bound"),
    [("1Gi", "1024Mi"), ("1.5Ki", 1536), (1073741824, "1Gi"), ("1E", "1000P"), ("999k", "1M")],
)
def test_a_request_may_equal_its_limit_however_both_are_written(
    program: Path, request_: object, limit: object, size: object, bound: object
) -> None:
    amounts = {
        "requests": {"cpu": request_, "memory": size},
        "limits": {"cpu": limit, "memory": bound},
    }
    render(program, {"bridge": {"resources": amounts}})


@pytest.mark.parametrize(
    ("size", "bound"),
    [
        ("1025Mi", "1Gi"),
        (1537, "1.5Ki"),
        ("1Gi", 1073741823),
        ("1E", "999P"),
        ("1Ki", "1k"),
        ("1.1Gi", "1.09Gi"),
    ],
)
def test_a_request_above_its_limit_is_refused_however_both_are_written(
    program: Path, size: object, bound: object
) -> None:
    values = {"bridge": {"resources": {"requests": {"memory": size}, "limits": {"memory": bound}}}}
    with pytest.raises(RefusedError, match=r"bridge\.resources\.requests\.memory is .* but must be at most"):
        render(program, values)


@pytest.mark.parametrize(
    "image", [{"repository": ""}, {"repository": "", "digest": f"sha256:{'a' * 64}"}, {"tag": "a b"}]
)
def test_an_image_that_is_no_reference_is_refused(program: Path, image: Manifest) -> None:
    with pytest.raises(RefusedError, match="image/"):
        render(program, {"bridge": {"image": image}})


@pytest.mark.parametrize("size", ["1K", "1m", "1 Gi", "-1", ""])
def test_a_size_that_kubernetes_does_not_read_is_refused(program: Path, size: str) -> None:
    with pytest.raises(RefusedError, match="tmpSize"):
        render(program, {"bridge": {"tmpSize": size}})


@pytest.mark.parametrize(
    "extra",
    [
        {"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        {"extraEnv": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        {"extraVolumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]},
        {"securityContext": {"privileged": True}},
        {"podSecurityContext": {"runAsUser": 0}},
    ],
)
def test_no_value_weakens_the_bridge(program: Path, extra: Manifest) -> None:
    with pytest.raises(RefusedError, match=r"not allowed|must be one of"):
        render(program, {"bridge": extra})


@pytest.mark.parametrize(
    "path", ["monitoring/interval", "redis/monitoring/interval", "postgres/podMonitor/interval"]
)
@pytest.mark.parametrize(
    ("interval", "taken"),
    [
        ("1s", True),
        ("30s", True),
        ("120s", True),
        ("2m", True),
        ("0s", False),
        ("121s", False),
        ("5m", False),
    ],
)
def test_metrics_are_read_often_enough_for_rates_over_five_minutes(
    path: str, interval: str, taken: bool
) -> None:
    part, *keys = path.split("/")
    schema = json.loads((CHART / "charts" / part / "values.schema.json").read_text())
    for key in keys:
        schema = schema["properties"][key]
    assert bool(re.search(schema["pattern"], interval)) == taken
