"""What a release needs, and whether it fits: the search is held against trying everything."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lighthouse_harness.capacity import GIB, HOSTNAME, Apart, Demand, Spread, demands, total
from lighthouse_harness.model import Render, Request, make_object
from lighthouse_harness.network_selectors import parse_selector
from lighthouse_harness.packing import Node, fit, fit_without_one

if TYPE_CHECKING:
    from collections.abc import Mapping

ZONE = "topology.kubernetes.io/zone"


def demand(
    name: str, replicas: int, cpu: int, memory: int, *, apart: str = "", skew: int = 0, **more: object
) -> Demand:
    own = parse_selector({"matchLabels": {"app": name}}, name)
    fields: dict[str, object] = {
        "labels": {"app": name},
        "apart": (Apart(apart, frozenset({"n"}), own),) if apart else (),
        "spread": (Spread(ZONE, skew, own),) if skew else (),
        **more,
    }
    sizes = Fraction(cpu), Fraction(memory) * GIB
    return Demand(name, name, "n", replicas, *sizes, *sizes, **fields)  # type: ignore[arg-type]  # the fields above


def nodes(*sizes: tuple[int, int]) -> list[Node]:
    return [
        Node(f"node-{number}", Fraction(cpu), Fraction(memory) * GIB, labels={ZONE: f"zone-{number % 2}"})
        for number, (cpu, memory) in enumerate(sizes)
    ]


def brute_force(wanted: list[Demand], cluster: list[Node]) -> bool:
    """Whether any of all assignments of pods to nodes keeps every rule."""
    pods = [one for one in wanted for _ in range(one.replicas)]
    for places in itertools.product(range(len(cluster)), repeat=len(pods)):
        used = [(Fraction(0), Fraction(0)) for _ in cluster]
        for pod, place in zip(pods, places, strict=True):
            used[place] = used[place][0] + pod.cpu, used[place][1] + pod.memory
        if any(
            cpu > node.cpu or memory > node.memory for (cpu, memory), node in zip(used, cluster, strict=True)
        ):
            continue
        alone = all(
            count == 1
            for one in wanted
            if one.apart
            for count in Counter(
                place for pod, place in zip(pods, places, strict=True) if pod is one
            ).values()
        )
        if alone:
            return True
    return False


KINDS = st.builds(
    lambda number, replicas, cpu, memory, apart: demand(
        f"kind-{number}", replicas, cpu, memory, apart=HOSTNAME if apart else ""
    ),
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.booleans(),
)


@given(
    st.lists(KINDS, min_size=1, max_size=3, unique_by=lambda one: one.name),
    st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_a_placement_is_found_exactly_when_there_is_one(
    kinds: list[Demand], sizes: list[tuple[int, int]]
) -> None:
    cluster = nodes(*sizes)
    if sum(kind.replicas for kind in kinds) <= 6:
        found = fit(kinds, cluster)
        assert found.fits == brute_force(kinds, cluster)
        assert found.fits or found.reasons


def test_a_sum_that_does_not_fit_says_what_is_short() -> None:
    found = fit([demand("database", 3, 8, 32), demand("bridge", 3, 2, 4)], nodes((24, 61)))
    assert found.reasons == (
        "30 CPU are needed and 24 there: 6 short",
        "108 GiB of memory are needed and 61 there: 47 short",
    )


def test_a_pod_that_fits_nowhere_is_named_although_the_sum_fits() -> None:
    found = fit([demand("database", 1, 8, 32)], nodes((6, 30), (6, 30)))
    assert found.reasons == (
        "a pod of database needs 8 CPU and 32 GiB, and no node that it may run on has both free",
    )


def test_sums_that_fit_are_not_enough() -> None:
    found = fit([demand("large", 3, 3, 1)], nodes((5, 8), (5, 8)))
    assert found.reasons == (
        "no placement of the 3 pods on the 2 nodes exists with anti-affinity, spread and node labels kept",
    )


def test_pods_that_must_be_apart_are_and_one_may_wait_when_a_node_is_lost() -> None:
    kinds = [demand("database", 3, 2, 2, apart=HOSTNAME), demand("bridge", 2, 1, 1)]
    cluster = nodes((4, 8), (4, 8), (4, 8))
    placed = fit(kinds, cluster).placement
    assert [names.count("database") for names in placed.values()] == [1, 1, 1]
    lost = fit_without_one(kinds, cluster)
    assert lost.fits
    assert lost.note.endswith("1 of database")


def test_the_loss_of_a_node_needs_room_on_the_others() -> None:
    kinds = [demand("bridge", 4, 2, 2)]
    assert fit(kinds, nodes((4, 8), (4, 8))).fits
    lost = fit_without_one(kinds, nodes((4, 8), (4, 8)))
    assert lost.reasons == ("without node node-0: 8 CPU are needed and 4 there: 4 short",)
    assert not fit_without_one(kinds, nodes((100, 100))).fits


def test_what_runs_on_every_node_takes_its_part_of_each() -> None:
    driver = demand("driver", 0, 1, 1, each_node=True)
    assert fit([driver, demand("bridge", 2, 3, 3)], nodes((4, 4), (4, 4))).fits
    assert not fit([driver, demand("bridge", 2, 4, 3)], nodes((4, 4), (4, 4))).fits


def test_pods_are_spread_over_zones_as_evenly_as_asked() -> None:
    cluster = nodes((8, 8), (1, 1))
    assert fit([demand("bridge", 3, 1, 1)], cluster).fits
    assert not fit([demand("bridge", 4, 1, 1, skew=1)], cluster).fits


def test_a_node_label_is_kept() -> None:
    wanted = demand("bridge", 1, 1, 1, node_labels={ZONE: "zone-7"})
    assert not fit([wanted], nodes((8, 8), (8, 8))).fits


def render(*documents: Mapping[str, Any]) -> Render:
    return Render(Request(Path("chart")), tuple(make_object(document, "n") for document in documents))


def workload(kind: str, **spec: Any) -> dict[str, Any]:
    sizes = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}}
    pod = {"containers": [{"name": "main", "resources": sizes}], **spec.pop("pod", {})}
    template = {"metadata": {"labels": {"app.kubernetes.io/component": "part"}}, "spec": pod}
    metadata = {"name": kind.lower()}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": {"template": template, **spec},
    }


def test_a_render_is_summed_up_by_kind_of_pod() -> None:
    claim = {"spec": {"resources": {"requests": {"storage": "10Gi"}}}}
    stateful = workload("StatefulSet", replicas=3, volumeClaimTemplates=[claim])
    found = demands(render(stateful, workload("DaemonSet"), workload("Job")))
    assert [(one.name, one.replicas, one.each_node) for one in found] == [
        ("statefulset", 3, False),
        ("daemonset", 0, True),
    ]
    everything = total(found, 4)
    assert [everything.cpu, everything.cpu_limit] == [Fraction(7, 2), Fraction(14)]
    assert list(
        map(int, (everything.memory / GIB, everything.memory_limit / GIB, everything.disk / GIB))
    ) == [7, 28, 30]


def test_a_volume_claimed_by_name_is_counted() -> None:
    volumes = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"resources": {"requests": {"storage": "7Gi"}}},
    }
    found = demands(render(workload("Deployment", replicas=1, pod=volumes), claim))
    assert [size / GIB for size in found[0].disks] == [7]


def test_an_autoscaler_is_planned_for_at_its_most() -> None:
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "scaler"},
        "spec": {"maxReplicas": 9, "scaleTargetRef": {"kind": "Deployment", "name": "deployment"}},
    }
    assert demands(render(workload("Deployment", replicas=2), scaler))[0].replicas == 9


def test_an_operated_database_is_counted_with_its_volumes_and_rules() -> None:
    sizes = {"cpu": "8", "memory": "32Gi"}
    spec = {
        "instances": 3,
        "resources": {"requests": sizes, "limits": sizes},
        "storage": {"size": "100Gi"},
        "walStorage": {"size": "20Gi"},
        "affinity": {"podAntiAffinityType": "required"},
    }
    document = {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": "db"},
        "spec": spec,
    }
    found = demands(render(workload("Deployment"), document))[-1]
    assert (found.name, found.replicas, int(found.cpu), int(found.memory / GIB)) == ("db", 3, 8, 32)
    assert sum(found.disks, Fraction(0)) / GIB == 120
    assert not fit([found], nodes((64, 256), (64, 256))).fits
    assert fit([found], nodes((8, 32), (8, 32), (8, 32))).fits


def test_the_backup_container_counts_for_each_instance_and_the_pooler_for_itself() -> None:
    def sizes(cpu: str, memory: str) -> dict[str, Any]:
        return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": "1", "memory": "512Mi"}}

    database = {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": "database"},
        "spec": {
            "instances": 3,
            "resources": sizes("500m", "256Mi"),
            "plugins": [{"parameters": {"barmanObjectName": "backups"}}],
        },
    }
    store = {
        "apiVersion": "barmancloud.cnpg.io/v1",
        "kind": "ObjectStore",
        "metadata": {"name": "backups"},
        "spec": {"instanceSidecarConfiguration": {"resources": sizes("100m", "128Mi")}},
    }
    pooler = {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Pooler",
        "metadata": {"name": "pooler"},
        "spec": {
            "instances": 2,
            "template": {"spec": {"containers": [{"name": "pgbouncer", "resources": sizes("50m", "64Mi")}]}},
        },
    }
    found = demands(render(workload("Deployment"), database, store, pooler))[1:]
    mib = 1024**2
    assert [(one.component, one.replicas, one.cpu, int(one.memory / mib)) for one in found] == [
        ("postgres", 3, Fraction("0.6"), 384),
        ("pooler", 2, Fraction("0.05"), 64),
    ]
    assert [(int(one.cpu_limit), int(one.memory_limit / mib)) for one in found] == [(2, 1024), (1, 512)]
    other = {**store, "metadata": {"name": "another"}}
    (_, plain, _) = demands(render(workload("Deployment"), database, other, pooler))
    assert plain.cpu == Fraction("0.5")
