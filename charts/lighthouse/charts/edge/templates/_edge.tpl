{{- define "edge.labels" -}}
{{- include "lighthouse.labels" (dict "context" . "component" "edge") -}}
{{- end -}}

{{- define "edge.tlsSecretName" -}}
{{- .Values.tls.existingSecret | default (include "lighthouse.edge.tlsSecretName" .) -}}
{{- end -}}

{{- define "edge.clientTlsSecretName" -}}
{{- .Values.clientTls.existingSecret | default (include "lighthouse.edge.clientTlsSecretName" .) -}}
{{- end -}}

{{- define "edge.scheme" -}}
{{- ternary "http" "https" (empty (include "lighthouse.secured" .)) -}}
{{- end -}}

{{- define "edge.className" -}}
{{- .Values.className | default .Values.controller -}}
{{- end -}}

{{- define "edge.maxBodyBytes" -}}
{{- mul (int .Values.maxBodyMiB) 1048576 -}}
{{- end -}}

{{- define "edge.hsts" -}}
max-age={{ int .Values.hsts.seconds }}{{ if .Values.hsts.includeSubdomains }}; includeSubDomains{{ end }}
{{- end -}}

{{- /* What answers without an end, and so must not be kept back until it is whole. */ -}}
{{- define "edge.streams" -}}
- {path: /events/stream, type: Exact}
- {path: /ws, type: Prefix}
{{- end -}}

{{- /* The names of Traefik's Middlewares for a route, the outermost first. Arguments: context, stream. */ -}}
{{- define "edge.middlewares" -}}
{{- $name := include "lighthouse.edge.name" .context -}}
{{- range $part := ternary (list "hsts" "limit" "retry") (list "hsts" "limit" "body" "retry") .stream }}
- {{ $name }}-{{ $part }}
{{- end -}}
{{- end -}}

{{- /* How annotations name an object of Traefik. Arguments: context, name. */ -}}
{{- define "edge.traefikReference" -}}
{{ .context.Release.Namespace }}-{{ .name }}@kubernetescrd
{{- end -}}

{{- /* What the Ingresses of Traefik say: entry point and Middlewares. Arguments: context, stream. */ -}}
{{- define "edge.traefikAnnotations" -}}
{{- $references := list -}}
{{- range include "edge.middlewares" . | fromYamlArray -}}
{{- $references = append $references (include "edge.traefikReference" (dict "context" $.context "name" .)) -}}
{{- end -}}
traefik.ingress.kubernetes.io/router.entrypoints: {{ .context.Values.traefik.entryPoints.https | quote }}
traefik.ingress.kubernetes.io/router.tls: "true"
traefik.ingress.kubernetes.io/router.middlewares: {{ join "," $references | quote }}
{{- end -}}

{{- /* What the Ingress of HAProxy says. Limits are in the backend, since the controller's own rate limit answers
       without Retry-After and counts what it refuses, so that who asks on gets nothing at all. */ -}}
{{- define "edge.haproxyAnnotations" -}}
{{- $limit := int .Values.rateLimit.requestsPerSecond -}}
{{- $silence := printf "%ds" (int .Values.timeouts.answerSeconds) -}}
haproxy.org/ssl-redirect: "true"
haproxy.org/ssl-redirect-code: "301"
haproxy.org/ssl-redirect-port: {{ .Values.port | quote }}
haproxy.org/response-set-header: Strict-Transport-Security "{{ include "edge.hsts" . }}"
haproxy.org/forwarded-for: "true"
haproxy.org/timeout-server: {{ $silence }}
haproxy.org/check: "true"
haproxy.org/check-http: GET /ready
haproxy.org/check-interval: 5s
{{- if include "lighthouse.secured" . }}
haproxy.org/server-ssl: "true"
haproxy.org/server-crt: {{ .Release.Namespace }}/{{ include "edge.clientTlsSecretName" . }}
haproxy.org/server-ca: {{ .Release.Namespace }}/{{ .Values.haproxy.authoritySecret | default (include "lighthouse.edge.authoritySecretName" .) }}
{{- end }}
haproxy.org/backend-config-snippet: |
  timeout connect {{ int .Values.timeouts.connectSeconds }}s
  timeout tunnel {{ $silence }}
  {{- if include "lighthouse.secured" . }}
  {{- $name := include "lighthouse.bridge.tlsName" . }}
  default-server sni str({{ $name }}) check-sni {{ $name }} verifyhost {{ $name }}
  {{- end }}
  stick-table type ipv6 size 100k expire 10s store gpc0,gpc0_rate(1s)
  http-request track-sc2 src,ipmask(32,64)
  http-request return status 429 content-type application/json string '{"detail":"A client may send {{ $limit }} requests a second."}' hdr Retry-After 1 if { sc2_gpc0_rate ge {{ $limit }} }
  http-request sc-inc-gpc0(2)
  http-request return status 413 content-type application/json string '{"detail":"A body may have {{ int .Values.maxBodyMiB }} MiB."}' if { req.body_size gt {{ include "edge.maxBodyBytes" . }} }
{{- end -}}

{{- /* One Ingress. Arguments: context, suffix, annotations, paths, hasTls. */ -}}
{{- define "edge.ingress" -}}
{{- $context := .context -}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ include "lighthouse.edge.name" $context }}{{ .suffix }}
  namespace: {{ $context.Release.Namespace | quote }}
  labels:
    {{- include "edge.labels" $context | nindent 4 }}
  annotations:
    {{- merge (fromYaml .annotations) $context.Values.annotations | toYaml | nindent 4 }}
spec:
  ingressClassName: {{ include "edge.className" $context | quote }}
  {{- if .hasTls }}
  tls:
    - hosts:
        {{- toYaml $context.Values.hosts | nindent 8 }}
      secretName: {{ include "edge.tlsSecretName" $context | quote }}
  {{- end }}
  rules:
    {{- range $host := $context.Values.hosts }}
    - host: {{ $host | quote }}
      http:
        paths:
          {{- range $.paths }}
          - path: {{ .path }}
            pathType: {{ .type }}
            backend:
              service:
                name: {{ include "lighthouse.edge.name" $context }}
                port:
                  name: http
          {{- end }}
    {{- end }}
{{- end -}}
