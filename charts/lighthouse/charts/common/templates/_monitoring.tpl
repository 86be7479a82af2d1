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
