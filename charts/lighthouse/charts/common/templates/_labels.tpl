{{- /* Labels a selector may use: they never change during the life of a release.
       Arguments: context, component. */ -}}
{{- define "lighthouse.selectorLabels" -}}
app.kubernetes.io/name: lighthouse
app.kubernetes.io/instance: {{ .context.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- /* Labels of every object. The chart's own win over global.commonLabels and extraLabels,
       so that no value can detach an object from its selector. Arguments: context, component. */ -}}
{{- define "lighthouse.labels" -}}
{{- $chart := .context.Chart -}}
{{- $own := fromYaml (include "lighthouse.selectorLabels" .) -}}
{{- $_ := set $own "app.kubernetes.io/version" ($chart.AppVersion | replace "+" "_" | trunc 63) -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "lighthouse" -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .context.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $chart.Name ($chart.Version | replace "+" "_") | trunc 63 | trimSuffix "-") -}}
{{- toYaml (merge $own (deepCopy .context.Values.extraLabels) (deepCopy .context.Values.global.commonLabels)) -}}
{{- end -}}

{{- /* Labels of a pod template: those of the object and podLabels. Without helm.sh/chart, so that a new
       version of the chart restarts only what it changes, and without capabilities for network access: values
       that label everything must not open a flow. Arguments: context, component, extra (optional, wins). */ -}}
{{- define "lighthouse.podLabels" -}}
{{- $labels := omit (fromYaml (include "lighthouse.labels" .)) "helm.sh/chart" -}}
{{- $labels = merge $labels (deepCopy .context.Values.podLabels) -}}
{{- range $key := keys $labels -}}
{{- if hasPrefix "lighthouse.dev/access-" $key -}}
{{- $labels = omit $labels $key -}}
{{- end -}}
{{- end -}}
{{- toYaml (merge (deepCopy (.extra | default dict)) $labels) -}}
{{- end -}}

{{- /* Labels that make the API server hold a namespace to a PodSecurity level at a fixed version.
       Arguments: context, level. */ -}}
{{- define "lighthouse.podSecurityLabels" -}}
{{- $version := .context.Values.global.podSecurityVersion -}}
{{- $level := .level -}}
{{- range $mode := list "enforce" "warn" "audit" }}
pod-security.kubernetes.io/{{ $mode }}: {{ $level }}
pod-security.kubernetes.io/{{ $mode }}-version: {{ $version }}
{{- end }}
{{- end -}}
