{{- /* Whether to render objects of the Prometheus Operator; answers with text or nothing. Arguments: context, when, kind. */ -}}
{{- define "lighthouse.monitored" -}}
{{- if or (eq .when "always") (and (eq .when "auto") (.context.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" .kind))) -}}
monitored
{{- end -}}
{{- end -}}
