{{- /* What several objects of Redis need. */ -}}

{{- /* How many pods there are. */ -}}
{{- define "redis.size" -}}
{{- if eq .Values.mode "cluster" -}}
{{- mul .Values.cluster.primaries (add1 .Values.cluster.replicasPerPrimary) -}}
{{- else -}}
1
{{- end -}}
{{- end -}}

{{- /* Labels that part the nodes from the pods that look after them. Arguments: context, role. */ -}}
{{- define "redis.selectorLabels" -}}
{{- include "lighthouse.selectorLabels" (dict "context" .context "component" "redis") }}
lighthouse.dev/role: {{ .role }}
{{- end -}}

{{- /* The keeper and what asks it are clients of Redis too. */ -}}
{{- define "redis.podLabels" -}}
{{- $extra := dict "lighthouse.dev/role" .role -}}
{{- if ne .role "node" -}}
{{- $_ := set $extra "lighthouse.dev/access-redis" "true" -}}
{{- end -}}
{{- include "lighthouse.podLabels" (dict "context" .context "component" "redis" "extra" $extra) -}}
{{- end -}}

{{- /* The Service that gives every pod a name, and its domain. */ -}}
{{- define "redis.nodes" -}}
{{- include "lighthouse.redis.name" . }}-nodes
{{- end -}}

{{- define "redis.domain" -}}
{{- include "redis.nodes" . }}.{{ .Release.Namespace }}.svc.{{ trimSuffix "." .Values.global.clusterDomain }}
{{- end -}}

{{- /* The share of the memory limit that data may take, in bytes. */ -}}
{{- define "redis.maxmemory" -}}
{{- $limit := include "lighthouse.quantity" .Values.resources.limits.memory | float64 -}}
{{- printf "%.0f" (divf (mulf $limit .Values.memory.percent) 100000.0 | float64 | floor) -}}
{{- end -}}

{{- /* Variables of the keeper's image. Arguments: the context. */ -}}
{{- define "redis.keeperEnv" -}}
- name: LIGHTHOUSE_REDIS_NAME
  value: {{ include "lighthouse.redis.name" . }}
- name: LIGHTHOUSE_REDIS_DOMAIN
  value: {{ include "redis.domain" . | quote }}
- name: LIGHTHOUSE_REDIS_PRIMARIES
  value: {{ .Values.cluster.primaries | quote }}
- name: LIGHTHOUSE_REDIS_REPLICAS
  value: {{ .Values.cluster.replicasPerPrimary | quote }}
- name: LIGHTHOUSE_REDIS_USERS_DIR
  value: /etc/lighthouse/redis-users
- name: LIGHTHOUSE_REDIS_TLS_DIR
  value: /etc/lighthouse/redis-tls
- name: LIGHTHOUSE_LOG_LEVEL
  value: {{ .Values.keeper.logLevel }}
{{- end -}}

{{- /* Mounts and volumes of who speaks to nodes as the keeper. */ -}}
{{- define "redis.keeperMounts" -}}
- name: users
  mountPath: /etc/lighthouse/redis-users
  readOnly: true
- name: client-tls
  mountPath: /etc/lighthouse/redis-tls
  readOnly: true
{{- end -}}

{{- /* Arguments: context, optional (whether the Secrets may be missing). */ -}}
{{- define "redis.keeperVolumes" -}}
- name: users
  secret:
    secretName: {{ include "redis.usersSecret" .context | quote }}
    defaultMode: 0440
    optional: {{ .optional }}
    items:
      - key: keeper
        path: keeper
{{ include "redis.clientTls" . }}
{{- end -}}

{{- /* What clients know nodes by and show to them, as a volume. The authority is from the nodes' own Secret: before an
       upgrade from a release without the other it is the one that is there. Arguments: context, optional. */ -}}
{{- define "redis.clientTls" -}}
- name: client-tls
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "redis.tlsSecret" .context | quote }}
          optional: {{ .optional }}
          items:
            - key: ca.crt
              path: ca.crt
      - secret:
          name: {{ include "redis.clientTlsSecret" .context | quote }}
          optional: {{ .optional }}
          items:
            - key: tls.crt
              path: tls.crt
            - key: tls.key
              path: tls.key
{{- end -}}

{{- /* Where those that are clients of Redis have what they show to Prometheus, if there is TLS: the nodes' certificate. */ -}}
{{- define "redis.metricsFolder" -}}
/etc/lighthouse/metrics-tls
{{- end -}}

{{- define "redis.metricsMount" }}
{{- if .Values.global.certificates.metrics }}
- name: metrics-tls
  mountPath: {{ include "redis.metricsFolder" . }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "redis.metricsVolume" }}
{{- if .Values.global.certificates.metrics }}
- name: metrics-tls
  secret:
    secretName: {{ include "redis.tlsSecret" . | quote }}
    defaultMode: 0440
    items:
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
{{- end }}
{{- end }}

{{- define "redis.usersSecret" -}}
{{- .Values.users.existingSecret | default (include "lighthouse.redis.usersSecretName" .) -}}
{{- end -}}

{{- define "redis.tlsSecret" -}}
{{- .Values.tls.existingSecret | default (include "lighthouse.redis.tlsSecretName" .) -}}
{{- end -}}

{{- define "redis.clientTlsSecret" -}}
{{- .Values.tls.existingClientSecret | default (include "lighthouse.redis.clientTlsSecretName" .) -}}
{{- end -}}
