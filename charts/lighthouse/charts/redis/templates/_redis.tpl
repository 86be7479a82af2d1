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
- name: authority
  mountPath: /etc/lighthouse/redis-tls
  readOnly: true
{{- end -}}

{{- /* Arguments: context, optional (whether the Secrets may be missing), keys (of that with the certificate). */ -}}
{{- define "redis.keeperVolumes" -}}
- name: users
  secret:
    secretName: {{ include "redis.usersSecret" .context | quote }}
    defaultMode: 0440
    optional: {{ .optional }}
    items:
      - key: keeper
        path: keeper
- name: authority
  secret:
    secretName: {{ include "redis.tlsSecret" .context | quote }}
    defaultMode: 0440
    optional: {{ .optional }}
    items:
      {{- range .keys }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- end -}}

{{- /* What those see of the Secret with the certificate who know nodes by it, and show it to Prometheus if there is TLS:
       as JSON. */ -}}
{{- define "redis.shownKeys" -}}
{{- .Values.global.certificates.metrics | ternary (list "ca.crt" "tls.crt" "tls.key") (list "ca.crt") | toJson -}}
{{- end -}}

{{- define "redis.usersSecret" -}}
{{- .Values.users.existingSecret | default (include "lighthouse.redis.usersSecretName" .) -}}
{{- end -}}

{{- define "redis.tlsSecret" -}}
{{- .Values.tls.existingSecret | default (include "lighthouse.redis.tlsSecretName" .) -}}
{{- end -}}
