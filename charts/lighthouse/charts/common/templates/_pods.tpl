{{- /* Scheduling and runtime fields that every pod takes from its component's values. */ -}}
{{- define "lighthouse.podSettings" -}}
{{- include "lighthouse.imagePullSecrets" . }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
{{- /* Without a selector a constraint counts no pod at all; the component's own are meant. */ -}}
{{- $own := fromYaml (include "lighthouse.selectorLabels" (dict "context" $ "component" $.Chart.Name)) }}
{{- $constraints := list }}
{{- range . }}
{{- $selector := get . "labelSelector" | default (dict "matchLabels" $own) }}
{{- $constraints = append $constraints (set (deepCopy .) "labelSelector" $selector) }}
{{- end }}
topologySpreadConstraints:
  {{- toYaml $constraints | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- if not (kindIs "invalid" .Values.hostUsers) }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
{{- end -}}

{{- /* The chart's list followed by the user's. Server-side apply refuses a list with two entries of one
       key, so a repeated key is named here. Arguments: own (YAML text), extra, key, value (the extra's path). */ -}}
{{- define "lighthouse.list" -}}
{{- $key := .key -}}
{{- $value := .value -}}
{{- $seen := dict -}}
{{- range fromYamlArray .own -}}
{{- $_ := set $seen (get . $key) "which the chart sets itself" -}}
{{- end -}}
{{- range .extra -}}
{{- $id := get . $key -}}
{{- with get $seen $id -}}
{{- fail (printf "%s repeats the %s %q, %s; remove that entry." $value $key $id .) -}}
{{- end -}}
{{- $_ := set $seen $id "which an earlier entry has" -}}
{{- end -}}
{{- trim .own -}}
{{- with .extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}
