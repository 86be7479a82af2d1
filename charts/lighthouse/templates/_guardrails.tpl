{{- /*
Parts of the admission policies. They are the umbrella's, since they judge by what all components are given: their
namespaces, the registries of their images, the driver's directory.
*/ -}}

{{- /* The prefix of objects that have no namespace: two releases of one name must not share them. */ -}}
{{- define "lighthouse.guardrails.name" -}}
{{- include "lighthouse.clusterName" . -}}
{{- end -}}

{{- /* Labels of objects that belong to no single component. */ -}}
{{- define "lighthouse.guardrails.labels" -}}
{{- $values := dict "extraLabels" dict "global" .Values.global -}}
{{- $context := dict "Chart" .Chart "Release" .Release "Values" $values -}}
{{- include "lighthouse.labels" (dict "context" $context "component" "guardrails") -}}
{{- end -}}

{{- /* The namespaces of components that are installed and may be judged, as JSON. Arguments: context, components. */ -}}
{{- define "lighthouse.guardrails.namespaces" -}}
{{- $context := .context -}}
{{- $names := list -}}
{{- range .components -}}
{{- if hasKey $context.Subcharts . -}}
{{- $name := include (printf "lighthouse.%s.namespace" .) $context -}}
{{- if or $context.Values.guardrails.releaseNamespace (ne $name $context.Release.Namespace) -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | sortAlpha | toJson -}}
{{- end -}}

{{- /* Finds the registries of all images below a value and puts them into `found`. Arguments: node, global, found. */ -}}
{{- define "lighthouse.guardrails.collect" -}}
{{- if kindIs "map" .node -}}
{{- if and (hasKey .node "registry") (hasKey .node "repository") -}}
{{- $_ := set .found (.global | default .node.registry | trimSuffix "/" | default "docker.io") true -}}
{{- end -}}
{{- range .node -}}
{{- include "lighthouse.guardrails.collect" (dict "node" . "global" $.global "found" $.found) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What the rules may refer to, as variables of a policy. */ -}}
{{- define "lighthouse.guardrails.variables" -}}
{{- $components := omit .Subcharts "common" | keys | sortAlpha -}}
{{- $found := dict -}}
{{- range $components -}}
{{- $node := index $.Values . -}}
{{- include "lighthouse.guardrails.collect" (dict "node" $node "global" $.Values.global.imageRegistry "found" $found) -}}
{{- end -}}
{{- range .Values.guardrails.registries -}}
{{- $_ := set $found (trimSuffix "/" .) true -}}
{{- end -}}
{{- $namespaces := include "lighthouse.guardrails.namespaces" (dict "context" . "components" $components) | fromJsonArray -}}
{{- $accounts := list -}}
{{- range $namespaces -}}
{{- $accounts = append $accounts (printf "system:serviceaccounts:%s" .) -}}
{{- end -}}
{{- $lists := dict "registries" (keys $found | sortAlpha) "namespaces" $namespaces "accounts" $accounts -}}
{{- $_ := set $lists "csiDrivers" (prepend .Values.guardrails.csiDrivers .Values.global.csiDriverName) -}}
{{- $_ := set $lists "clusterRoleBindings" .Values.guardrails.clusterRoleBindings -}}
{{- range $name, $items := $lists }}
- name: {{ $name }}
  expression: {{ $items | toJson | squote }}
{{- end }}
- name: release
  expression: {{ .Release.Namespace | squote | quote }}
- name: driver
  expression: {{ include "lighthouse.fuse-csi.name" . | squote | quote }}
- name: kubeletDir
  expression: {{ index .Values "fuse-csi" "kubeletDir" | default "/var/lib/kubelet" | squote | quote }}
{{- end -}}
