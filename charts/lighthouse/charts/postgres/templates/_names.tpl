{{- /* The Secret with the login of a role. Arguments: context, role. */ -}}
{{- define "postgres.secretName" -}}
{{- (index .context.Values.roles .role).existingSecret | default (printf "%s-%s" (include "lighthouse.postgres.name" .context) .role) -}}
{{- end -}}

{{- define "postgres.storageClass" -}}
{{- if .Values.storageClass.cloud -}}
{{- include "lighthouse.postgres.name" . -}}
{{- else -}}
{{- .Values.storageClass.name -}}
{{- end -}}
{{- end -}}

{{- /* The labels that instances get beside CloudNativePG's own; none that opens a flow or that selects pods. */ -}}
{{- define "postgres.inheritedLabels" -}}
{{- $labels := merge (deepCopy .Values.podLabels) (deepCopy .Values.extraLabels) (deepCopy .Values.global.commonLabels) -}}
{{- range $key := keys $labels -}}
{{- if or (hasPrefix "lighthouse.dev/access-" $key) (hasPrefix "app.kubernetes.io/" $key) (contains "cnpg.io/" $key) -}}
{{- $labels = omit $labels $key -}}
{{- end -}}
{{- end -}}
{{- toYaml (merge (dict "app.kubernetes.io/part-of" "lighthouse") $labels) -}}
{{- end -}}

{{- /* Names of the pooler's Service, which shows the server's certificate. */ -}}
{{- define "postgres.poolerHosts" -}}
{{- $service := printf "%s-pooler" (include "lighthouse.postgres.name" .) -}}
{{- include "lighthouse.serviceNames" (dict "context" . "service" $service "namespace" .Release.Namespace) | fromJsonArray | toYaml -}}
{{- end -}}

{{- /* The Secret with the authority of the instances' certificate. */ -}}
{{- define "postgres.authoritySecret" -}}
{{- if .Values.certificates.serverCASecret -}}
{{- .Values.certificates.serverCASecret -}}
{{- else if eq .Values.global.certificates.maker "cert-manager" -}}
{{- include "lighthouse.postgres.tlsSecretName" . -}}
{{- else -}}
{{- include "lighthouse.postgres.name" . }}-ca
{{- end -}}
{{- end -}}
