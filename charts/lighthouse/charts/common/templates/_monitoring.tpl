{{- /* Whether to render objects of the Prometheus Operator; answers with text or nothing. Arguments: context, when, kind. */ -}}
{{- define "lighthouse.monitored" -}}
{{- if or (eq .when "always") (and (eq .when "auto") (.context.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" .kind))) -}}
monitored
{{- end -}}
{{- end -}}

{{- /* What a PodMonitor adds to series that a scrape alone knows: the node. */ -}}
{{- define "lighthouse.metrics.node" }}
relabelings:
  - sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: node
{{- end }}

{{- /* An expression with its words replaced. Arguments: expr, words. */ -}}
{{- define "lighthouse.expression" -}}
{{- $text := .expr -}}
{{- /* Longer words first: one may begin another. */ -}}
{{- range $word := keys .words | sortAlpha | reverse -}}
{{- $text = $text | replace (printf "$%s" $word) (toString (get $.words $word)) -}}
{{- end -}}
{{- $text | trim -}}
{{- end -}}

{{- /* An alert's file as a rule, in YAML; the file's name is the alert's. Arguments: path, alert (its content), words, limit,
       runbooks, release (Helm's). */ -}}
{{- define "lighthouse.alert" -}}
{{- $name := .path | base | trimSuffix ".yaml" -}}
{{- $expr := include "lighthouse.expression" (dict "expr" .alert.expr "words" (set (deepCopy .words) "threshold" .limit)) -}}
{{- $labels := dict "severity" .alert.severity "release" .release.Name "release_namespace" .release.Namespace -}}
{{- $told := dict "summary" .alert.summary "runbook_url" (printf "%s%s.md" .runbooks $name) -}}
{{- toYaml (dict "alert" $name "expr" $expr "for" .alert.for "labels" $labels "annotations" $told) -}}
{{- end -}}
