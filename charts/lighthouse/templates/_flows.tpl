{{- /*
The table of flows, files/flows.yaml, as parts of NetworkPolicies. The umbrella
renders them, since a flow has two sides, and a subchart sees neither the other
side nor the files of its parent.
*/ -}}

{{- /* Our namespaces that hold a party's pods, as JSON: the namespace to the component that owns it.
       Arguments: context, party. */ -}}
{{- define "lighthouse.flows.namespaces" -}}
{{- $context := .context -}}
{{- $owners := dict -}}
{{- range .party.namespacesOf | default (list .party.component) -}}
{{- if hasKey $context.Subcharts . -}}
{{- $_ := set $owners (include (printf "lighthouse.%s.namespace" .) $context) . -}}
{{- end -}}
{{- end -}}
{{- toJson $owners -}}
{{- end -}}

{{- /* Whether all pods of a namespace are denied; answers with text or nothing. Arguments: context, namespace. */ -}}
{{- define "lighthouse.flows.denied" -}}
{{- if or .context.Values.networkPolicies.denyReleaseNamespace (ne .namespace .context.Release.Namespace) -}}
denied
{{- end -}}
{{- end -}}

{{- /* The labels of a party's pods. Arguments: context, party. */ -}}
{{- define "lighthouse.flows.podLabels" -}}
{{- if .party.label -}}
{{ .party.label }}: "true"
{{- else if .party.operatedBy -}}
{{ .party.operatedBy }}: {{ include (printf "lighthouse.%s.name" .party.component) .context }}
{{- else -}}
{{- include "lighthouse.selectorLabels" (dict "context" .context "component" .party.component) -}}
{{- end -}}
{{- end -}}

{{- /* A value by its dotted name, as JSON. Arguments: context, name. */ -}}
{{- define "lighthouse.flows.value" -}}
{{- $value := .context.Values -}}
{{- range splitList "." .name -}}
{{- $value = index $value . -}}
{{- end -}}
{{- toJson $value -}}
{{- end -}}

{{- /* Whether a party's pods run before the objects of the release change; answers with text or nothing.
       Arguments: context, party. */ -}}
{{- define "lighthouse.flows.isHook" -}}
{{- if .party.hookWith -}}
{{- if include "lighthouse.flows.value" (dict "context" .context "name" .party.hookWith) | mustFromJson -}}
hook
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The peers that a party is to others; nothing when nobody is meant. Arguments: context, party. */ -}}
{{- define "lighthouse.flows.peers" -}}
{{- if .party.peers -}}
{{- with include "lighthouse.flows.value" (dict "context" .context "name" .party.peers) | fromJsonArray -}}
{{- toYaml . -}}
{{- end -}}
{{- else -}}
{{- with include "lighthouse.flows.namespaces" . | fromJson -}}
{{- /* The label that Kubernetes itself gives to every namespace. */ -}}
- namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values:
          {{- keys . | sortAlpha | toYaml | nindent 10 }}
  podSelector:
    matchLabels:
      {{- include "lighthouse.flows.podLabels" $ | nindent 6 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The rules of one direction for the pods of a party, each under its arrow.
       Arguments: context, table, name (of the party), direction, rule (the template of one rule; if not given, that of
       a NetworkPolicy). */ -}}
{{- define "lighthouse.flows.rules" -}}
{{- $isIngress := eq .direction "ingress" -}}
{{- range .table.flows -}}
{{- /* Helm drops the values of a component that is disabled. */ -}}
{{- $wanted := empty .when -}}
{{- range .when -}}
{{- $value := $.context.Values -}}
{{- range splitList "." . -}}
{{- $value = get ($value | default dict) . -}}
{{- end -}}
{{- $wanted = or $wanted $value -}}
{{- end -}}
{{- if and $wanted (eq $.name (ternary .to .from $isIngress)) -}}
{{- $other := get $.table.parties (ternary .from .to $isIngress) -}}
{{- $ports := .port -}}
{{- if kindIs "string" $ports -}}
{{- $ports = include "lighthouse.flows.value" (dict "context" $.context "name" $ports) | fromJsonArray -}}
{{- end -}}
{{- $arguments := dict "context" $.context "party" $other "protocols" .protocol "ports" $ports "isIngress" $isIngress -}}
{{- $rule := include ($.rule | default "lighthouse.flows.rule") $arguments | trim -}}
{{- if $rule }}
# {{ .from }} --> {{ .to }}: {{ .why }}
{{ $rule }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* A flow as a rule of a NetworkPolicy; nothing when the other side is nobody.
       Arguments: context, party (the other side), protocols, ports, isIngress. */ -}}
{{- define "lighthouse.flows.rule" -}}
{{- with include "lighthouse.flows.peers" . }}
- {{ ternary "from" "to" $.isIngress }}:
    {{- . | nindent 4 }}
  ports:
    {{- range $port := $.ports }}
    {{- range $.protocols }}
    - port: {{ int $port }}
      protocol: {{ . }}
    {{- end }}
    {{- end }}
{{- end -}}
{{- end -}}
