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
{{- $alerts := include "redis.alerts" $redis }}
{{- if and (ne $alerts "[]") (include "lighthouse.monitored" (dict "context" $redis "when" $rules "kind" "PrometheusRule")) }}
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
        {{- $alerts | nindent 8 }}
{{- end }}
{{- end }}

{{- /* The alerts in files/alerts about what runs, as a list in YAML. */ -}}
{{- define "redis.alerts" -}}
{{- $name := include "lighthouse.redis.name" . -}}
{{- $words := dict "nodes" (printf `namespace=%q,pod=~"%s-[0-9]+"` .Release.Namespace $name) -}}
{{- $_ := set $words "keeper" (printf `namespace=%q,pod=~"%s-keeper-.+"` .Release.Namespace $name) -}}
{{- $_ := set $words "size" (include "redis.size" .) -}}
{{- $_ := set $words "maxClients" (int .Values.maxClients) -}}
{{- $there := dict "cluster" (eq .Values.mode "cluster") "exporter" .Values.exporter.enabled -}}
{{- $rules := list -}}
{{- range $path, $_ := .Files.Glob "files/alerts/*.yaml" -}}
{{- $alert := $.Files.Get $path | fromYaml -}}
{{- $needed := true -}}
{{- range $alert.needs -}}
{{- $needed = and $needed (get $there .) -}}
{{- end -}}
{{- if $needed -}}
{{- $limit := get $.Values.monitoring.thresholds $alert.threshold -}}
{{- $of := dict "path" $path "alert" $alert "words" $words "limit" $limit "runbooks" $.Values.monitoring.runbooks "release" $.Release -}}
{{- $rules = append $rules (include "lighthouse.alert" $of | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{- define "redis.monitoringLabels" -}}
{{- toYaml (merge (fromYaml (include "lighthouse.labels" (dict "context" . "component" "redis"))) (deepCopy .Values.monitoring.labels)) -}}
{{- end -}}
