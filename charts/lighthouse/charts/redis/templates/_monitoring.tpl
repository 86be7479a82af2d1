{{- /* What Prometheus gets of Redis. The umbrella renders it, since only it knows whether anybody may scrape. Arguments:
       context, auto (what that means of when to make it). */ -}}
{{- define "redis.monitoring" }}
{{- $auto := .auto }}
{{- $redis := .context }}
{{- $monitors := ternary $auto $redis.Values.monitoring.podMonitor (eq $redis.Values.monitoring.podMonitor "auto") }}
{{- $rules := ternary $auto $redis.Values.monitoring.rules (eq $redis.Values.monitoring.rules "auto") }}
{{- $tls := dict "context" $redis "host" (include "lighthouse.metrics.host" (dict "context" $redis "component" "redis")) "secret" (include "redis.tlsSecret" $redis) }}
{{- if and $redis.Values.exporter.enabled (include "lighthouse.monitored" (dict "context" $redis "when" $monitors "kind" "PodMonitor")) }}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ include "lighthouse.redis.name" $redis }}
  namespace: {{ $redis.Release.Namespace | quote }}
  labels:
    {{- include "redis.monitoringLabels" $redis | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- include "redis.selectorLabels" (dict "context" $redis "role" "node") | nindent 6 }}
  podMetricsEndpoints:
    - port: metrics
      interval: {{ $redis.Values.monitoring.interval }}
      {{- include "lighthouse.metrics.tls" $tls | indent 6 }}
      {{- include "lighthouse.metrics.node" . | indent 6 }}
    - port: guard
      interval: {{ $redis.Values.monitoring.interval }}
      {{- include "lighthouse.metrics.tls" $tls | indent 6 }}
      {{- include "lighthouse.metrics.node" . | indent 6 }}
{{- end }}
{{- $cluster := eq $redis.Values.mode "cluster" }}
{{- if and $cluster (include "lighthouse.monitored" (dict "context" $redis "when" $monitors "kind" "PodMonitor")) }}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ include "lighthouse.redis.name" $redis }}-keeper
  namespace: {{ $redis.Release.Namespace | quote }}
  labels:
    {{- include "redis.monitoringLabels" $redis | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- include "redis.selectorLabels" (dict "context" $redis "role" "keeper") | nindent 6 }}
  podMetricsEndpoints:
    - port: keeper
      interval: {{ $redis.Values.monitoring.interval }}
      {{- include "lighthouse.metrics.tls" $tls | indent 6 }}
      {{- include "lighthouse.metrics.node" . | indent 6 }}
{{- end }}
{{- if and (or $cluster $redis.Values.exporter.enabled) (include "lighthouse.monitored" (dict "context" $redis "when" $rules "kind" "PrometheusRule")) }}
{{- $limits := $redis.Values.monitoring.thresholds }}
{{- $keeper := printf `lighthouse_redis_keeper_whole{namespace=%q,pod=~"%s-keeper-.+"}` $redis.Release.Namespace (include "lighthouse.redis.name" $redis) }}
{{- $pods := printf `namespace=%q,pod=~"%s-[0-9]+"` $redis.Release.Namespace (include "lighthouse.redis.name" $redis) }}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {{ include "lighthouse.redis.name" $redis }}
  namespace: {{ $redis.Release.Namespace | quote }}
  labels:
    {{- include "redis.monitoringLabels" $redis | nindent 4 }}
spec:
  groups:
    - name: redis
      rules:
        {{- if $cluster }}
        - alert: RedisKeeperDown
          expr: {{ printf "(count(%s) or vector(0)) < %v" $keeper (int $limits.keepers) | quote }}
          for: 3m
          labels:
            severity: warning
            release: {{ $redis.Release.Name | quote }}
          annotations:
            summary: The keeper of Redis is not seen, so that nothing heals the cluster.
            runbook_url: {{ $redis.Values.monitoring.runbooks }}RedisKeeperDown.md
        - alert: RedisNotHealing
          expr: {{ printf "max(avg_over_time(%s[30m])) < %v" $keeper $limits.whole | quote }}
          for: 10m
          labels:
            severity: warning
            release: {{ $redis.Release.Name | quote }}
          annotations:
            summary: The keeper runs, but has hardly found the cluster as it should be for half an hour.
            runbook_url: {{ $redis.Values.monitoring.runbooks }}RedisNotHealing.md
        {{- end }}
        {{- if $redis.Values.exporter.enabled }}
        - alert: RedisNodeDown
          expr: {{ printf "%s - (sum(redis_up{%s}) or vector(0)) > %v" (include "redis.size" $redis) $pods (int $limits.nodesAway) | quote }}
          for: 2m
          labels:
            severity: warning
            release: {{ $redis.Release.Name | quote }}
          annotations:
            summary: Fewer Redis nodes answer their exporters than there should be.
            runbook_url: {{ $redis.Values.monitoring.runbooks }}RedisNodeDown.md
        {{- if $cluster }}
        - alert: RedisSlotsUnserved
          expr: {{ printf "min(redis_cluster_slots_ok{%s}) < %v" $pods (int $limits.slots) | quote }}
          for: 1m
          labels:
            severity: critical
            release: {{ $redis.Release.Name | quote }}
          annotations:
            summary: Some slots have no primary, so that their keys cannot be read or written.
            runbook_url: {{ $redis.Values.monitoring.runbooks }}RedisSlotsUnserved.md
        - alert: RedisReplicasMissing
          expr: {{ printf "redis_connected_slaves{%s} < %v and on (pod) redis_instance_info{%s,role=\"master\"}" $pods (int $limits.replicas) $pods | quote }}
          for: 5m
          labels:
            severity: warning
            release: {{ $redis.Release.Name | quote }}
          annotations:
            summary: A primary has fewer replicas than it should, so that its loss would lose data.
            runbook_url: {{ $redis.Values.monitoring.runbooks }}RedisReplicasMissing.md
        {{- end }}
        - alert: RedisMemoryHigh
          expr: {{ printf "redis_memory_used_bytes{%s} / (redis_memory_max_bytes{%s} > 0) > %v" $pods $pods $limits.memory | quote }}
          for: 10m
          labels:
            severity: warning
            release: {{ $redis.Release.Name | quote }}
          annotations:
            summary: Data takes nearly all memory that it may take; soon keys are removed or writes refused.
            runbook_url: {{ $redis.Values.monitoring.runbooks }}RedisMemoryHigh.md
        - alert: RedisEvictions
          expr: {{ printf "rate(redis_evicted_keys_total{%s}[5m]) > %v" $pods $limits.evictions | quote }}
          for: 5m
          labels:
            severity: warning
            release: {{ $redis.Release.Name | quote }}
          annotations:
            summary: Redis removes keys before they expire, for want of memory.
            runbook_url: {{ $redis.Values.monitoring.runbooks }}RedisEvictions.md
        - alert: RedisConnectionsHigh
          expr: {{ printf "redis_connected_clients{%s} / %v > %v" $pods (int $redis.Values.maxClients) $limits.connections | quote }}
          for: 5m
          labels:
            severity: warning
            release: {{ $redis.Release.Name | quote }}
          annotations:
            summary: A node has nearly as many connections as it accepts.
            runbook_url: {{ $redis.Values.monitoring.runbooks }}RedisConnectionsHigh.md
        - alert: RedisPersistenceFailing
          expr: {{ printf "count(redis_aof_last_write_status{%s} == 0 or redis_aof_last_bgrewrite_status{%s} == 0) > %v" $pods $pods (int $limits.unwritable) | quote }}
          for: 1m
          labels:
            severity: critical
            release: {{ $redis.Release.Name | quote }}
          annotations:
            summary: A node cannot write its log of changes, and refuses writes until it can.
            runbook_url: {{ $redis.Values.monitoring.runbooks }}RedisPersistenceFailing.md
        {{- end }}
{{- end }}
{{- end }}

{{- define "redis.monitoringLabels" -}}
{{- toYaml (merge (fromYaml (include "lighthouse.labels" (dict "context" . "component" "redis"))) (deepCopy .Values.monitoring.labels)) -}}
{{- end -}}
