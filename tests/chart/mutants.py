"""Ways to break the chart's templates, each with the check that must notice."""

# ruff: noqa: E501 - a table, one mutant a line

from __future__ import annotations

from dataclasses import dataclass

BRIDGE = "charts/bridge/templates"
AGENTS = "charts/agents/templates"
DRIVER = "charts/fuse-csi/templates"
SECURITY = "charts/common/templates/_security.tpl"
BRIDGE_POD = f"{BRIDGE}/_pod.tpl"
STATEFUL_SET = f"{BRIDGE}/statefulset.yaml"
POD = f"{AGENTS}/_pod.tpl"
FLOWS = "files/flows.yaml"
POLICIES = "templates/networkpolicies.yaml"
DAEMON_SET = f"{DRIVER}/daemonset.yaml"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One edit of one template."""

    check: str
    """The check that must find it."""
    file: str
    old: str
    """Text that the template holds; its first occurrence is replaced. Empty appends `new` as a new file."""
    new: str

    @property
    def title(self) -> str:
        """A name for the test."""
        return f"{self.check}: {self.old.strip().splitlines()[0] if self.old else 'a new template'} -> {self.new.strip()[:30]}"


BIND_ADMIN = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: admin}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: lighthouse-bridge, namespace: lighthouse}]
"""
BLOCKING_BUDGET = """\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: bridge}
spec:
  minAvailable: 1
  selector: {matchLabels: {app.kubernetes.io/component: bridge}}
"""
STRAY_BUDGET = BLOCKING_BUDGET.replace("component: bridge", "component: brigde")
SCALER = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: bridge}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: lighthouse-bridge}
  minReplicas: 3
  maxReplicas: 5
"""
SETTINGS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {redis-url: "redis://:hunter22hunter22@redis:6379"}
"""
TUNING = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {tuning: k3Jx9QmZt7Rw2VbN8yHc5LsD4fGp6TaE}
"""

MUTANTS = (
    Mutant("pod-security/runAsNonRoot", SECURITY, "runAsNonRoot: true", "runAsNonRoot: false"),
    Mutant("pod-security/runAsUser", SECURITY, "runAsUser: 65532", "runAsUser: 0"),
    Mutant("security-context/runAsUser", SECURITY, "runAsUser: 65532\n", ""),
    Mutant("security-context/runAsGroup", SECURITY, "runAsGroup: 65532", "runAsGroup: 0"),
    Mutant("pod-security/seccompProfile_restricted", SECURITY, "type: RuntimeDefault", "type: Unconfined"),
    Mutant("pod-security/seccompProfile_restricted", SECURITY, "seccompProfile:\n  type: RuntimeDefault\n", ""),
    Mutant("pod-security/allowPrivilegeEscalation", SECURITY, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"),
    Mutant("security-context/allowPrivilegeEscalation", SECURITY, "allowPrivilegeEscalation: false\n", ""),
    Mutant("pod-security/privileged", SECURITY, "privileged: false", "privileged: true"),
    Mutant("security-context/readOnlyRootFilesystem", SECURITY, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
    Mutant("pod-security/capabilities_restricted", SECURITY, "drop: [ALL]", "drop: [NET_RAW]"),
    Mutant("pod-security/capabilities_restricted", SECURITY, "drop: [ALL]", "drop: [ALL]\n  add: [SYS_ADMIN]"),
    Mutant("resources/limits", BRIDGE_POD, "toYaml .Values.resources", 'toYaml (omit .Values.resources "limits")'),
    Mutant("resources/requests", BRIDGE_POD, "toYaml .Values.resources", 'toYaml (omit .Values.resources "requests")'),
    Mutant("resources/limits", POD, "toYaml $values.fuse.resources", 'toYaml (omit $values.fuse.resources "limits")'),
    Mutant("resources/order", BRIDGE_POD, "toYaml .Values.resources", 'toYaml (set (deepCopy .Values.resources) "requests" (dict "cpu" "9" "memory" "1Mi" "ephemeral-storage" "1Mi"))'),
    Mutant("schema/unknown", BRIDGE_POD, "toYaml .Values.resources", "toYaml .Values.resources.requests"),
    Mutant("resources/emptyDir", BRIDGE_POD, "sizeLimit: {{ .Values.tmpSize | toJson }}", "medium: Memory"),
    Mutant("schema/format", POD, "sizeLimit: 16Mi", "sizeLimit: 16MB"),
    Mutant("probe/separate", BRIDGE_POD, "livenessProbe:\n        httpGet: {path: /health", "livenessProbe:\n        httpGet: {path: /ready"),
    Mutant("probe/port", BRIDGE_POD, "httpGet: {path: /ready, port: {{ $probed }}}", "httpGet: {path: /ready, port: https}"),
    Mutant("probe/port", POD, "httpGet: {path: /ready, port: http,", "httpGet: {path: /ready, port: 8084,"),
    Mutant("schema/unknown", BRIDGE_POD, "readinessProbe:", "readynessProbe:"),
    Mutant("probe/present", BRIDGE_POD, "readinessProbe:", "startupProbe2:"),
    Mutant("service/port", BRIDGE_POD, "- name: metrics", "- name: metric"),
    Mutant("service/port", f"{BRIDGE}/service.yaml", "targetPort: http", "targetPort: 8766"),
    Mutant("service/selector", f"{BRIDGE}/service.yaml", "  selector:\n", "  selector:\n    tier: front\n"),
    Mutant("service-account/own", BRIDGE_POD, '  serviceAccountName: {{ include "lighthouse.bridge.name" . }}\n', ""),
    Mutant("service-account/token", BRIDGE_POD, "automountServiceAccountToken: false", "automountServiceAccountToken: true"),
    Mutant("image/tag", "charts/common/templates/_images.tpl", ":{{ .image.tag | default .context.Chart.AppVersion }}", ":latest"),
    Mutant("image/tag", "charts/common/templates/_images.tpl", ":{{ .image.tag | default .context.Chart.AppVersion }}", ""),
    Mutant("secret/name", BRIDGE_POD, '{{- define "bridge.env" }}\n', '{{- define "bridge.env" }}\n- name: AUTH_SECRET\n  value: hunter22hunter22\n'),
    Mutant("secret/environment", BRIDGE_POD, '{{- define "bridge.env" }}\n', '{{- define "bridge.env" }}\n- name: AUTH\n  valueFrom: {secretKeyRef: {name: lighthouse-bridge-auth, key: auth-secret}}\n'),
    Mutant("secret/repeated", BRIDGE_POD, '"checksum/auth" (sha256sum $auth)', '"checksum/auth" $auth'),
    Mutant("secret/pattern", "templates/settings.yaml", "", SETTINGS),
    Mutant("secret/entropy", "templates/settings.yaml", "", TUNING),
    Mutant("duplicate/list", BRIDGE_POD, '{{- define "bridge.env" }}\n', '{{- define "bridge.env" }}\n- name: LIGHTHOUSE_LOG_LEVEL\n  value: debug\n'),
    Mutant("duplicate/list", BRIDGE_POD, "containerPort: 8080", "containerPort: 8765"),
    Mutant("duplicate/list", POD, "- name: fuse-tmp\n  emptyDir", "- name: tmp\n  emptyDir"),
    Mutant("duplicate/object", f"{AGENTS}/deployments.yaml", '{{ include "lighthouse.agents.name" $context }}-{{ $name }}', "agent"),
    Mutant("schema/kind", STATEFUL_SET, "apiVersion: apps/v1", "apiVersion: apps/v1beta2"),
    Mutant("schema/type", STATEFUL_SET, "replicas: 1", "replicas: one"),
    Mutant("schema/type", BRIDGE_POD, "value: {{ .Values.drainSeconds | quote }}", "value: {{ .Values.drainSeconds }}"),
    Mutant("schema/required", f"{BRIDGE}/service.yaml", "      port: 8765\n", ""),
    Mutant("pod-security/hostNamespaces", BRIDGE_POD, "enableServiceLinks: false", "hostNetwork: true"),
    Mutant("pod-security/restrictedVolumes", BRIDGE_POD, "emptyDir:\n    sizeLimit: {{ .Values.tmpSize | toJson }}", "hostPath: {path: /tmp}"),
    Mutant("pod-security/privileged", DAEMON_SET, '{{ include "lighthouse.fuse-csi.namespace" . }}', "{{ .Release.Namespace }}"),
    Mutant("pod-security/hostPorts", POD, "containerPort: 8083", "containerPort: 8083\n        hostPort: 8083"),
    Mutant("pod-security/namespace", f"{AGENTS}/namespace.yaml", '"restricted"', '"privileged"'),
    Mutant("pod-security/namespace", f"{AGENTS}/namespace.yaml", '"level" "restricted"', '"level" "baseline"'),
    Mutant("security-context/propagation", POD, "mountPropagation: HostToContainer", "mountPropagation: Bidirectional"),
    Mutant("change/immutable", STATEFUL_SET, 'serviceName: {{ include "lighthouse.bridge.name" . }}', "serviceName: bridge"),
    Mutant("change/immutable", "charts/common/templates/_labels.tpl", "app.kubernetes.io/name: lighthouse", "app.kubernetes.io/name: lh"),
    Mutant("change/immutable", f"{BRIDGE}/persistentvolumeclaim.yaml", "{{- toYaml .Values.persistence.accessModes | nindent 4 }}", "[ReadWriteMany]"),
    Mutant("change/immutable", f"{DRIVER}/csidriver.yaml", "volumeLifecycleModes: [Ephemeral]", "volumeLifecycleModes: [Persistent]"),
    Mutant("change/lost", f"{AGENTS}/namespace.yaml", 'name: {{ include "lighthouse.agents.namespace" . }}', "name: experts"),
    Mutant("network/missing-flow", FLOWS, "port: [8765]", "port: [8766]"),
    Mutant("network/missing-flow", FLOWS, "protocol: [UDP, TCP]", "protocol: [TCP]"),
    Mutant("network/missing-flow", POLICIES, "with $egress", 'with ""'),
    Mutant("network/missing-flow", "templates/_flows.tpl", "key: kubernetes.io/metadata.name", "key: name"),
    Mutant("network/excess-flow", FLOWS, "port: [8765]", "port: [8765, 8080]"),
    Mutant("network/excess-flow", FLOWS, "  - from: clients\n", "  - from: agents\n    to: agents\n    port: [8083]\n    protocol: [TCP]\n    why: gossip\n  - from: clients\n"),
    Mutant("network/excess-flow", "templates/_flows.tpl", "      {{- include \"lighthouse.flows.podLabels\" $ | nindent 6 }}", "      {}"),
    Mutant("network/missing-flow", POLICIES, "policyTypes: [Ingress, Egress]\n  {{- with", "policyTypes: [Ingress]\n  {{- with"),
    Mutant("network/excess-flow", POLICIES, "  podSelector: {}\n  policyTypes: [Ingress, Egress]", "  podSelector: {}\n  policyTypes: [Ingress, Egress]\n  ingress: [{}]"),
    Mutant("schema/unknown", "templates/_flows.tpl", 'ternary "from" "to" $.isIngress }}:', 'ternary "form" "to" $.isIngress }}:'),
    Mutant("disruption/blocks", "templates/budget.yaml", "", BLOCKING_BUDGET),
    Mutant("disruption/selector", "templates/budget.yaml", "", STRAY_BUDGET),
    Mutant("autoscaler/replicas", "templates/scaler.yaml", "", SCALER),
    Mutant("rbac/everyone", "templates/admin.yaml", "", BIND_ADMIN.replace("{kind: ServiceAccount, name: lighthouse-bridge, namespace: lighthouse}", '{kind: Group, apiGroup: rbac.authorization.k8s.io, name: "system:authenticated"}')),
    Mutant("rbac/wildcard", "templates/admin.yaml", "", BIND_ADMIN),
)  # fmt: skip
