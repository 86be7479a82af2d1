{{- /*
Which certificates a release needs, and from whom. The umbrella makes them (templates/certificates.yaml), since only
it knows which components a release has.
*/ -}}

{{- /* Labels of an object. Arguments: context (the umbrella's), component. */ -}}
{{- define "certificates.labels" -}}
{{- include "lighthouse.labels" (dict "context" (index .context.Subcharts .component) "component" .component) -}}
{{- end -}}

{{- /* All certificates as JSON, each with its Secret, the names that clients use, and what it is for.
       Arguments: the umbrella's context. */ -}}
{{- define "certificates.wanted" -}}
{{- $values := .Subcharts.certificates.Values -}}
{{- $here := .Release.Namespace -}}
{{- $server := list "digital signature" "server auth" -}}
{{- $client := list "digital signature" "client auth" -}}
{{- $wanted := list -}}
{{- /* To Prometheus, by those that are servers for nobody else. */ -}}
{{- $isShown := .Values.global.certificates.metrics -}}

{{- if hasKey .Subcharts "bridge" -}}
{{- $name := include "lighthouse.bridge.name" . -}}
{{- $names := include "lighthouse.serviceNames" (dict "context" . "service" $name "namespace" $here) | fromJsonArray -}}
{{- $names = concat $names (list "localhost") $values.names | uniq -}}
{{- $addresses := prepend $values.addresses "127.0.0.1" | uniq -}}
{{- $wanted = append $wanted (dict "component" "bridge" "name" $name "secret" (include "lighthouse.bridge.tlsSecretName" .) "namespace" $here "names" $names "addresses" $addresses "usages" $server) -}}
{{- end -}}

{{- if hasKey .Subcharts "agents" -}}
{{- $name := include "lighthouse.agents.name" . -}}
{{- $namespace := include "lighthouse.agents.namespace" . -}}
{{- $names := list (printf "%s.%s" $name $namespace) -}}
{{- $wanted = append $wanted (dict "component" "agents" "name" $name "secret" (include "lighthouse.agents.tlsSecretName" .) "namespace" $namespace "names" $names "usages" ($isShown | ternary (append $client "server auth") $client)) -}}
{{- end -}}

{{- if and $isShown (hasKey .Subcharts "fuse-csi") -}}
{{- $name := include "lighthouse.fuse-csi.name" . -}}
{{- $namespace := include "lighthouse.fuse-csi.namespace" . -}}
{{- $names := list (printf "%s.%s" $name $namespace) -}}
{{- $wanted = append $wanted (dict "component" "fuse-csi" "name" $name "secret" (include "lighthouse.fuse-csi.tlsSecretName" .) "namespace" $namespace "names" $names "usages" $server) -}}
{{- end -}}

{{- range $values.clients -}}
{{- $name := printf "%s-client-%s" (include "lighthouse.fullname" $) . -}}
{{- $secret := include "lighthouse.client.tlsSecretName" (dict "context" $ "client" .) -}}
{{- $names := list (printf "%s.%s" $name $here) -}}
{{- $wanted = append $wanted (dict "component" "certificates" "name" $name "secret" $secret "namespace" $here "names" $names "usages" $client) -}}
{{- end -}}

{{- if hasKey .Subcharts "edge" -}}
{{- $name := include "lighthouse.edge.name" . -}}
{{- $names := list (printf "%s.%s" $name $here) -}}
{{- $wanted = append $wanted (dict "component" "edge" "name" $name "secret" (include "lighthouse.edge.clientTlsSecretName" .) "namespace" $here "names" $names "usages" $client) -}}
{{- if eq .Subcharts.edge.Values.tls.maker "release" -}}
{{- $wanted = append $wanted (include "certificates.ofEdge" . | fromJson) -}}
{{- end -}}
{{- end -}}
{{- toJson $wanted -}}
{{- end -}}

{{- /* What the edge shows to its clients, as JSON: one of many names and no common one, since public authorities
       take none. Arguments: the umbrella's context. */ -}}
{{- define "certificates.ofEdge" -}}
{{- dict "component" "edge" "name" (include "lighthouse.edge.name" .) "isNameless" true "secret" (include "lighthouse.edge.tlsSecretName" .) "namespace" .Release.Namespace "names" .Subcharts.edge.Values.hosts "usages" (list "digital signature" "server auth") | toJson -}}
{{- end -}}

{{- /* Those that only cert-manager makes, as JSON: without it Redis has one of its own, and CloudNativePG makes
       PostgreSQL's. It makes those of replicas in any case: whoever gets one for their name from the authority that
       PostgreSQL asks of them may read all. Arguments: the umbrella's context. */ -}}
{{- define "certificates.ofStores" -}}
{{- $here := .Release.Namespace -}}
{{- $wanted := list -}}
{{- if and (hasKey .Subcharts "redis") (not .Values.redis.tls.existingSecret) -}}
{{- $name := include "lighthouse.redis.name" . -}}
{{- $names := include "lighthouse.serviceNames" (dict "context" . "service" $name "namespace" $here) | fromJsonArray -}}
{{- $names = concat (list (printf "*.%s" (include "redis.domain" .Subcharts.redis))) $names (list "localhost") -}}
{{- /* Nodes are each other's clients. */ -}}
{{- $usages := list "digital signature" "server auth" "client auth" -}}
{{- $wanted = append $wanted (dict "component" "redis" "name" $name "secret" (include "lighthouse.redis.tlsSecretName" .) "namespace" $here "names" $names "addresses" (list "127.0.0.1") "usages" $usages) -}}
{{- $client := printf "%s-client" $name -}}
{{- $names := list (printf "%s.%s" $client $here) -}}
{{- $wanted = append $wanted (dict "component" "redis" "name" $client "secret" (include "lighthouse.redis.clientTlsSecretName" .) "namespace" $here "names" $names "usages" (list "digital signature" "client auth")) -}}
{{- end -}}
{{- if and (hasKey .Subcharts "postgres") (not .Values.postgres.certificates.serverTLSSecret) -}}
{{- $name := include "lighthouse.postgres.name" . -}}
{{- $services := list "rw" "ro" "r" -}}
{{- if .Values.postgres.pooler.enabled -}}
{{- /* PgBouncer shows the instances' certificate. */ -}}
{{- $services = append $services "pooler" -}}
{{- end -}}
{{- $names := list -}}
{{- range $services -}}
{{- $names = concat $names (include "lighthouse.serviceNames" (dict "context" $ "service" (printf "%s-%s" $name .) "namespace" $here) | fromJsonArray) -}}
{{- end -}}
{{- /* With this label CloudNativePG reads a changed Secret at once. */ -}}
{{- $labels := dict "cnpg.io/reload" "true" -}}
{{- $wanted = append $wanted (dict "component" "postgres" "name" (printf "%s-rw" $name) "secret" (include "lighthouse.postgres.tlsSecretName" .) "namespace" $here "names" $names "usages" (list "digital signature" "server auth") "labels" $labels) -}}
{{- end -}}
{{- toJson $wanted -}}
{{- end -}}

{{- /* The issuerRef of the release's certificates. Arguments: the umbrella's context. */ -}}
{{- define "certificates.issuer" -}}
{{- $issuer := .Subcharts.certificates.Values.issuer -}}
{{- if eq $issuer.kind "existing" -}}
{{- $issuer.existing | toYaml -}}
{{- else -}}
name: {{ include "certificates.issuerName" . }}
kind: ClusterIssuer
group: cert-manager.io
{{- end -}}
{{- end -}}

{{- /* A Certificate of cert-manager. Arguments: context (the umbrella's), of (one of those wanted), issuer. */ -}}
{{- define "certificates.certificate" -}}
{{- $values := .context.Subcharts.certificates.Values -}}
{{- $labels := include "certificates.labels" (dict "context" .context "component" .of.component) -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  name: {{ .of.secret }}
  namespace: {{ .of.namespace | quote }}
  labels:
    {{- $labels | nindent 4 }}
spec:
  secretName: {{ .of.secret }}
  secretTemplate:
    labels:
      {{- merge (deepCopy (.of.labels | default dict)) (fromYaml $labels) | toYaml | nindent 6 }}
  {{- if not .of.isNameless }}
  commonName: {{ .of.name | quote }}
  {{- end }}
  dnsNames:
    {{- toYaml .of.names | nindent 4 }}
  {{- with .of.addresses }}
  ipAddresses:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  duration: {{ $values.hours }}h
  renewBeforePercentage: {{ $values.renewBeforePercentage }}
  privateKey:
    algorithm: ECDSA
    size: 256
    encoding: PKCS8
    rotationPolicy: Always
  usages: {{ .of.usages | toJson }}
  issuerRef:
    {{- .issuer | nindent 4 }}
{{- end -}}

{{- /* The ClusterIssuer that the chart makes. Agents are in another namespace than the bridge, and an Issuer in each
       would need the authority's key in both. Arguments: the umbrella's context. */ -}}
{{- define "certificates.issuerName" -}}
{{- include "lighthouse.clusterName" . }}-{{ ternary "vault" "authority" (eq .Subcharts.certificates.Values.issuer.kind "vault") }}
{{- end -}}
