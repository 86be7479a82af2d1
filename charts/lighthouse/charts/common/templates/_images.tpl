{{- /* One image reference. A digest wins over a tag, because it alone names one content.
       Arguments: context, image. */ -}}
{{- define "lighthouse.image" -}}
{{- $registry := .context.Values.global.imageRegistry | default .image.registry -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest -}}
@{{ .image.digest }}
{{- else -}}
:{{ .image.tag | default .context.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* Pull secrets of a pod, global ones first, each once: the list is a map keyed by name for the API server. */ -}}
{{- define "lighthouse.imagePullSecrets" -}}
{{- $names := list -}}
{{- range concat .Values.global.imagePullSecrets .Values.imagePullSecrets -}}
{{- $names = append $names (kindIs "string" . | ternary . (get (kindIs "map" . | ternary . dict) "name")) -}}
{{- end -}}
{{- with $names | uniq }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}
