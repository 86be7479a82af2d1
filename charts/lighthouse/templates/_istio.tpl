{{- /*
The table of flows, files/flows.yaml, as rules of Istio's AuthorizationPolicies.
Istio judges at the receiver alone, knows senders by their certificates, and
sees TCP only.
*/ -}}

{{- /* A flow as a rule of an AuthorizationPolicy; nothing when the sender is nobody.
       Arguments: those of lighthouse.flows.rule. */ -}}
{{- define "lighthouse.istio.rule" -}}
{{- with include "lighthouse.istio.sources" . | trim }}
- from:
    {{- . | nindent 4 }}
  to:
    - operation:
        ports:
          {{- range $.ports }}
          - {{ . | toString | quote }}
          {{- end }}
{{- end -}}
{{- end -}}

{{- /* Whom a rule admits. Arguments: context, party. */ -}}
{{- define "lighthouse.istio.sources" -}}
{{- if .party.peers -}}
{{- range include "lighthouse.flows.value" (dict "context" .context "name" .party.peers) | fromJsonArray }}
{{- if .ipBlock }}
- source:
    ipBlocks: [{{ .ipBlock.cidr | quote }}]
{{- else }}
{{- $namespace := get .namespaceSelector.matchLabels "kubernetes.io/metadata.name" }}
{{- if not $namespace }}
{{- fail (printf "istio.enabled cannot tell the namespace of a peer in %s, whose labels are %s; add the label kubernetes.io/metadata.name with the name of the namespace." $.party.peers (toJson .namespaceSelector.matchLabels)) }}
{{- end }}
- source:
    namespaces: [{{ $namespace | quote }}]
{{- end }}
{{- end }}
{{- else -}}
{{- range $namespace, $component := include "lighthouse.flows.namespaces" . | fromJson }}
- source:
{{- if $.party.label }}
    namespaces: [{{ $namespace | quote }}]
{{- else }}
    principals:
      {{- $name := include (printf "lighthouse.%s.name" $component) $.context }}
      {{- $path := printf "%s/ns/%s/sa/%s" $.context.Values.istio.trustDomain $namespace $name }}
      - {{ $path | quote }}
      {{- /* CloudNativePG runs PgBouncer under an account of its own. */}}
      {{- if and (eq $component "postgres") $.context.Values.postgres.pooler.enabled }}
      - {{ printf "%s-pooler" $path | quote }}
      {{- end }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
