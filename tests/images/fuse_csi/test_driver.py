"""The driver as kubelet sees it: registration, publishing, unpublishing, restarts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from ci.monitoring.processes import process
from lighthouse_fuse_csi.stubs import csi_pb2 as csi
from tests.images.fuse_csi.support import DRIVER, HTTP, REPOSITORY, environment, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.images.fuse_csi.machine import Node


def lines_of(node: Node, uid: str) -> list[list[str]]:
    """Mount point, options, kind, source and superblock options of a pod's mounts."""
    found = []
    for line in node.mount_lines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if f"/pods/{uid}/" in fields[4]:
            found.append([fields[4], fields[5], *after.split(" ")])
    return found


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """Code and text of the error that the call gives."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def test_registration_names_the_driver_and_serves_csi_on_the_same_socket(node: Node) -> None:
    info = node.register()
    assert (info.type, info.name, info.endpoint) == ("CSIPlugin", DRIVER, "")
    assert list(info.supported_versions) == ["1.0.0"]
    answer = node.call("csi.v1.Node/NodeGetInfo", csi.NodeGetInfoRequest(), csi.NodeGetInfoResponse)
    assert answer.node_id == "node-1"
    plugin = node.call("csi.v1.Identity/GetPluginInfo", csi.GetPluginInfoRequest(), csi.GetPluginInfoResponse)
    assert plugin.name == DRIVER


def test_driver_ends_when_kubelet_refuses_it(own_node: Node) -> None:
    own_node.register(refusal="no such version")
    assert own_node.driver is not None
    assert own_node.driver.process.wait(10) == 1
    assert "no such version" in own_node.driver.log.read_text()


def test_data_volume_is_a_read_only_tmpfs_with_fuse_inside(node: Node) -> None:
    node.publish("layout", "data")
    try:
        tmpfs, fuse = lines_of(node, "layout")
        target = str(node.target("layout", "data"))
        assert (tmpfs[0], tmpfs[2], fuse[0], fuse[2]) == (
            target,
            "tmpfs",
            f"{target}/project",
            "fuse.lighthouse",
        )
        assert "ro" in tmpfs[4].split(",")
        for options in (tmpfs[1].split(","), fuse[1].split(",")):
            assert {"nosuid", "nodev", "noexec"} <= set(options)
        assert "ro" in fuse[1].split(",")
        assert {"ro", "user_id=0", "default_permissions", "allow_other"} <= set(fuse[4].split(","))
    finally:
        node.unpublish("layout", "data")
    assert lines_of(node, "layout") == []


def test_control_volume_is_a_small_tmpfs_that_only_root_may_write(node: Node) -> None:
    node.publish("control", "control")
    try:
        (control,) = lines_of(node, "control")
        assert control[2] == "tmpfs"
        inside = Path(node.inside(node.target("control", "control")))
        assert inside.stat().st_mode & 0o777 == 0o755
        assert [path.name for path in inside.iterdir()] == ["control.sock"]
        assert inside.stat().st_uid == 0
        assert os.statvfs(inside).f_blocks * os.statvfs(inside).f_frsize <= 64 * 1024
    finally:
        node.unpublish("control", "control")


@pytest.mark.parametrize("role", ["control", "data"])
def test_publishing_and_unpublishing_twice_is_like_once(node: Node, role: str) -> None:
    uid = f"twice-{role}"
    node.publish(uid, role)
    once = lines_of(node, uid)
    node.publish(uid, role)
    assert lines_of(node, uid) == once
    node.unpublish(uid, role)
    node.unpublish(uid, role)
    assert lines_of(node, uid) == []
    assert not node.target(uid, role).exists()
    assert not list((node.kubelet / "plugins" / DRIVER / "volumes").glob("*twice*"))


def test_publishing_is_quick(node: Node) -> None:
    for index in range(10):
        node.publish(f"quick-{index}", "data")
    for index in range(10):
        node.unpublish(f"quick-{index}", "data")
    total = re.search(r'duration_seconds_sum\{method="NodePublishVolume"\} (\S+)', node.metrics())
    count = re.search(r'duration_seconds_count\{method="NodePublishVolume"\} (\S+)', node.metrics())
    assert total is not None
    assert count is not None
    assert float(total[1]) / float(count[1]) < 0.2


@pytest.mark.parametrize(
    ("context", "code", "words"),
    [
        ({"role": "other"}, grpc.StatusCode.INVALID_ARGUMENT, "role is 'other'; set it to control or data"),
        ({"role": ""}, grpc.StatusCode.INVALID_ARGUMENT, "role is ''"),
        (
            {"csi.storage.k8s.io/ephemeral": "false"},
            grpc.StatusCode.INVALID_ARGUMENT,
            "Only inline ephemeral volumes",
        ),
        ({"csi.storage.k8s.io/pod.uid": ""}, grpc.StatusCode.INVALID_ARGUMENT, "podInfoOnMount"),
        ({"csi.storage.k8s.io/pod.uid": "../x"}, grpc.StatusCode.INVALID_ARGUMENT, "UID '../x' is unusable"),
    ],
)
def test_wrong_volumes_are_refused_with_a_reason(
    node: Node, context: dict[str, str], code: grpc.StatusCode, words: str
) -> None:
    more = {name: value for name, value in context.items() if name != "role"}
    role = context.get("role", "data")
    found, text = refused(lambda: node.publish("wrong", role, name="wrong", **more))
    assert (found, words in text) == (code, True), text
    assert lines_of(node, "wrong") == []


def test_a_second_data_volume_in_a_pod_is_refused(node: Node) -> None:
    node.publish("double", "data")
    try:
        code, text = refused(lambda: node.publish("double", "data", name="second"))
        assert code is grpc.StatusCode.ALREADY_EXISTS
        assert "declare one volume of role data" in text
    finally:
        node.unpublish("double", "data")


def test_a_known_volume_is_not_published_differently(node: Node) -> None:
    node.publish("differs", "data")
    try:
        code, _ = refused(lambda: node.publish("differs", "control", name="data"))
        assert code is grpc.StatusCode.ALREADY_EXISTS
    finally:
        node.unpublish("differs", "data")


@pytest.mark.parametrize("path", ["/etc", "relative/path", "{kubelet}/../outside", "{kubelet}/pods/../../x"])
def test_targets_outside_kubelets_folder_are_refused(node: Node, path: str) -> None:
    target = path.format(kubelet=node.kubelet)
    request = csi.NodeUnpublishVolumeRequest(volume_id="x", target_path=target)
    code, text = refused(
        lambda: node.call("csi.v1.Node/NodeUnpublishVolume", request, csi.NodeUnpublishVolumeResponse)
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "set KUBELET_DIR" in text


def test_restarted_driver_keeps_volumes_and_removes_those_of_gone_pods(own_node: Node) -> None:
    for uid in ("stays", "goes"):
        own_node.publish(uid, "control")
        own_node.publish(uid, "data")
    kept = lines_of(own_node, "stays")
    assert own_node.driver is not None
    own_node.driver.end()
    # The pod's folder with its mounts is gone from kubelet's view, as after a node came back.
    subprocess.run(own_node.enter(["umount", "-lR", str(own_node.target("goes", "control"))]), check=True)
    subprocess.run(own_node.enter(["umount", "-lR", str(own_node.target("goes", "data"))]), check=True)
    shutil.rmtree(own_node.kubelet / "pods" / "goes")
    own_node.start_driver()
    assert lines_of(own_node, "stays") == kept
    assert lines_of(own_node, "goes") == []
    assert len(list((own_node.kubelet / "plugins" / DRIVER / "volumes").iterdir())) == 2
    own_node.unpublish("stays", "data")
    own_node.unpublish("stays", "control")
    assert lines_of(own_node, "stays") == []


def test_unreadable_record_does_not_stop_the_driver(own_node: Node) -> None:
    assert own_node.driver is not None
    own_node.driver.end()
    bad = own_node.kubelet / "plugins" / DRIVER / "volumes" / "bad.json"
    bad.write_text('{"volume_id": 7')
    own_node.start_driver()
    assert not bad.exists()


def test_health_and_metrics_are_served(node: Node) -> None:
    health = HTTP.request("GET", f"http://127.0.0.1:{node.metrics_port}/health")
    assert (health.status, health.data) == (200, b"ok\n")
    node.publish("metrics", "data")
    try:
        text = node.metrics()
        assert process("fuse-csi").departures(text) == []
        for name in (
            'lighthouse_csi_operations_total{code="OK",method="NodePublishVolume"}',
            "lighthouse_csi_operation_duration_seconds_bucket",
            "lighthouse_csi_connection_waiting_requests",
            'lighthouse_csi_connection_aborts_total{reason="deadline"}',
            'lighthouse_csi_operations_total{code="INTERNAL",method="NodePublishVolume"}',
            'lighthouse_csi_fd_handoffs_total{kind="hello",result="refused"}',
        ):
            assert name in text
    finally:
        node.unpublish("metrics", "data")


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (["driver"], {}, "NODE_NAME is empty"),
        (
            ["driver"],
            {"NODE_NAME": "n", "KUBELET_DIR": "here"},
            "KUBELET_DIR is 'here'; set it to an absolute path",
        ),
        (
            ["driver"],
            {"NODE_NAME": "n", "LIGHTHOUSE_CSI_ABORT_SECONDS": "soon"},
            "set it to a number from 1 to 3600",
        ),
        (["sidecar"], {}, "LIGHTHOUSE_BRIDGE_URL is ''"),
        (["sidecar"], {"LIGHTHOUSE_BRIDGE_URL": "http://x"}, "LIGHTHOUSE_AGENT_ID is empty"),
        (["sidecar"], {"LIGHTHOUSE_BRIDGE_URL": "http://x", "LIGHTHOUSE_AGENT_ID": "a"}, "runs as root"),
        (["neither"], {}, "Usage:"),
    ],
)
def test_wrong_settings_end_the_program_with_one_sentence(
    arguments: list[str], env: dict[str, str], words: str
) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "lighthouse_fuse_csi", *arguments],
        env=environment("fuse-csi", env),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_generated_modules_are_current(tmp_path: Path) -> None:
    package = tmp_path / "lighthouse_fuse_csi" / "stubs"
    subprocess.run(
        [str(REPOSITORY / "images" / "fuse-csi" / "proto" / "generate"), str(tmp_path)],
        env={"PYTHON": sys.executable, "PATH": os.environ["PATH"]},
        check=True,
    )
    committed = REPOSITORY / "images" / "fuse-csi" / "lighthouse_fuse_csi" / "stubs"
    for path in package.iterdir():
        assert path.read_text() == (committed / path.name).read_text(), f"{path.name}: run proto/generate"
    assert len(list(package.iterdir())) == 4


def test_driver_stops_cleanly(own_node: Node) -> None:
    assert own_node.driver is not None
    assert own_node.driver.end(signal.SIGTERM) == 0
    assert not list((own_node.kubelet / "plugins_registry").glob("*.sock"))
    eventually(lambda: not list((own_node.kubelet / "plugins_registry").iterdir()))
