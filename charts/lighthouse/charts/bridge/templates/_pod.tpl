{{- /* The pod of a bridge, whatever keeps it. */ -}}
{{- define "bridge.pod" -}}
metadata:
  labels:
    {{- include "lighthouse.podLabels" (dict "context" . "component" "bridge") | nindent 4 }}
  annotations:
    {{- $own := dict "kubectl.kubernetes.io/default-container" "bridge" }}
    {{- if not .Values.auth.existingSecret }}
    {{- $auth := include "lighthouse.generated" (dict "context" . "secret" (include "lighthouse.bridge.authSecretName" .) "key" "auth-secret") }}
    {{- $_ := set $own "checksum/auth" (sha256sum $auth) }}
    {{- end }}
    {{- toYaml (merge $own (deepCopy .Values.podAnnotations)) | nindent 4 }}
spec:
  serviceAccountName: {{ include "lighthouse.bridge.name" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "lighthouse.podSecurityContext" . | nindent 4 }}
  {{- with include "lighthouse.podSettings" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if and (include "bridge.onPostgres" .) (not .Values.topologySpreadConstraints) }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "lighthouse.selectorLabels" (dict "context" $ "component" "bridge") | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  containers:
    - name: bridge
      image: {{ include "lighthouse.image" (dict "context" . "image" .Values.image) | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      securityContext:
        {{- include "lighthouse.securityContext" . | nindent 8 }}
      env:
        {{- include "lighthouse.list" (dict "own" (include "bridge.env" .) "extra" .Values.extraEnv "key" "name" "value" "bridge.extraEnv") | nindent 8 }}
      ports:
        - name: http
          containerPort: 8765
        - name: metrics
          containerPort: 8080
        {{- if include "lighthouse.secured" . }}
        # In plain text, for kubelet, which has no certificate: it answers probes and nothing else.
        - name: probes
          containerPort: 8766
        {{- end }}
      {{- $probed := ternary "http" "probes" (empty (include "lighthouse.secured" .)) }}
      startupProbe:
        httpGet: {path: /health, port: {{ $probed }}}
        periodSeconds: 1
        timeoutSeconds: 2
        failureThreshold: {{ .Values.startupSeconds }}
      livenessProbe:
        httpGet: {path: /health, port: {{ $probed }}}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /ready, port: {{ $probed }}}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- if and (include "bridge.onPostgres" .) (gt (int .Values.preStopSeconds) 0) }}
      lifecycle:
        # Until every node has heard that this pod takes no new connections.
        preStop: {sleep: {seconds: {{ .Values.preStopSeconds }}}}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        {{- include "lighthouse.list" (dict "own" (include "bridge.volumeMounts" .) "extra" .Values.extraVolumeMounts "key" "mountPath" "value" "bridge.extraVolumeMounts") | nindent 8 }}
  volumes:
    {{- include "lighthouse.list" (dict "own" (include "bridge.volumes" .) "extra" .Values.extraVolumes "key" "name" "value" "bridge.extraVolumes") | nindent 4 }}
{{- end -}}

{{- /* What bridges and their migration need for PostgreSQL. */ -}}
{{- define "bridge.databaseEnv" }}
{{- $database := include "bridge.database" . | fromYaml }}
- name: LIGHTHOUSE_DATABASE_HOST
  value: {{ $database.host | quote }}
- name: LIGHTHOUSE_DATABASE_PORT
  value: {{ $database.port | quote }}
- name: LIGHTHOUSE_DATABASE_NAME
  value: {{ $database.name | quote }}
- name: LIGHTHOUSE_DATABASE_SECRET_DIR
  value: /etc/lighthouse/database
- name: LIGHTHOUSE_DATABASE_TLS_DIR
  value: /etc/lighthouse/database-tls
{{- with $database.readHost }}
- name: LIGHTHOUSE_DATABASE_READ_HOST
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "bridge.databaseMounts" }}
- name: database
  mountPath: /etc/lighthouse/database
  readOnly: true
- name: database-tls
  mountPath: /etc/lighthouse/database-tls
  readOnly: true
{{- end }}

{{- /* Arguments: database, and secret with the login. */ -}}
{{- define "bridge.databaseVolumes" }}
- name: database
  secret:
    secretName: {{ .secret | quote }}
    defaultMode: 0440
- name: database-tls
  projected:
    defaultMode: 0440
    # Not all of it: CloudNativePG keeps the authority's own key beside its certificate.
    sources:
      - secret:
          name: {{ .database.existingTlsSecret | quote }}
          items:
            - key: ca.crt
              path: ca.crt
      {{- if not .database.authorityAlone }}
      - secret:
          name: {{ .database.existingTlsSecret | quote }}
          # Only where the server asks for a client's certificate.
          optional: true
          items:
            - key: tls.crt
              path: tls.crt
            - key: tls.key
              path: tls.key
      {{- end }}
{{- end }}

{{- define "bridge.env" }}
{{- if include "bridge.onPostgres" . }}
{{- include "bridge.databaseEnv" . }}
{{- else }}
- name: LIGHTHOUSE_EVENT_STORE_PATH
  value: /var/lib/lighthouse/events.db
{{- end }}
{{- $redis := include "bridge.redis" . | fromYaml }}
{{- if $redis.host }}
- name: LIGHTHOUSE_REDIS_URL
  value: {{ printf "rediss://%s:%v" $redis.host $redis.port | quote }}
- name: LIGHTHOUSE_REDIS_MODE
  value: {{ ternary "cluster" "standalone" $redis.cluster }}
- name: LIGHTHOUSE_REDIS_USERNAME
  value: {{ $redis.username | quote }}
- name: LIGHTHOUSE_REDIS_PASSWORD_FILE
  value: /etc/lighthouse/redis/password
- name: LIGHTHOUSE_REDIS_CA_FILE
  value: /etc/lighthouse/redis-tls/ca.crt
{{- if $redis.clientCertificate }}
- name: LIGHTHOUSE_REDIS_CERTIFICATE_FILE
  value: /etc/lighthouse/redis-tls/tls.crt
- name: LIGHTHOUSE_REDIS_KEY_FILE
  value: /etc/lighthouse/redis-tls/tls.key
{{- end }}
{{- end }}
{{- if .Values.rules.existingConfigMap }}
- name: LIGHTHOUSE_ORGANISATION_RULES_DIR
  value: /etc/lighthouse/rules
{{- end }}
{{- with .Values.rego }}
{{- if .existingConfigMap }}
- name: LIGHTHOUSE_REGO_DIR
  value: /etc/lighthouse/rego
{{- end }}
{{- if .url }}
- name: LIGHTHOUSE_REGO_URL
  value: {{ .url | quote }}
- name: LIGHTHOUSE_REGO_TOKEN_FILE
  value: /etc/lighthouse/rego-token/token
- name: LIGHTHOUSE_REGO_CA_FILE
  value: /etc/lighthouse/rego-tls/ca.crt
{{- end }}
{{- end }}
{{- with .Values.traces }}
{{- if .url }}
- name: LIGHTHOUSE_TRACES_URL
  value: {{ .url | quote }}
- name: LIGHTHOUSE_TRACES_RATIO
  value: {{ .ratio | quote }}
{{- if .existingSecret }}
- name: LIGHTHOUSE_TRACES_TOKEN_FILE
  value: /etc/lighthouse/traces-token/token
{{- end }}
{{- if .existingTlsSecret }}
- name: LIGHTHOUSE_TRACES_CA_FILE
  value: /etc/lighthouse/traces-tls/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.trustedProxies }}
- name: LIGHTHOUSE_TRUSTED_PROXIES
  value: {{ join "," . | quote }}
{{- end }}
- name: LIGHTHOUSE_REPLICAS
  value: {{ ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled | quote }}
- name: LIGHTHOUSE_AGENT_PER_MINUTE
  value: {{ int64 .Values.limits.agentPerMinute | quote }}
- name: LIGHTHOUSE_TOTAL_PER_SECOND
  value: {{ int64 .Values.limits.totalPerSecond | quote }}
- name: LIGHTHOUSE_VALIDATION_WAIT_SECONDS
  value: {{ .Values.waits.validationSeconds | quote }}
- name: LIGHTHOUSE_EXPERT_SECONDS
  value: {{ .Values.waits.expertSeconds | quote }}
- name: LIGHTHOUSE_REVIEW_SECONDS
  value: {{ .Values.waits.reviewSeconds | quote }}
{{- if include "lighthouse.secured" . }}
- name: LIGHTHOUSE_TLS_DIR
  value: /etc/lighthouse/tls
- name: LIGHTHOUSE_TLS_CLIENTS
  value: {{ .Values.tls.clients }}
{{- end }}
{{- include "lighthouse.metrics.env" (dict "context" . "folder" "/etc/lighthouse/tls") }}
- name: LIGHTHOUSE_AUTH_SECRET_FILE
  value: /etc/lighthouse/auth/auth-secret
- name: LIGHTHOUSE_KEYS_DIR
  value: /etc/lighthouse/keys
- name: LIGHTHOUSE_DRAIN_SECONDS
  value: {{ .Values.drainSeconds | quote }}
- name: LIGHTHOUSE_LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- with .Values.projectRoots }}
- name: LIGHTHOUSE_PROJECT_ROOTS
  value: {{ join ":" . | quote }}
{{- end }}
{{- end }}

{{- define "bridge.volumeMounts" }}
{{- if include "bridge.onPostgres" . }}
{{- include "bridge.databaseMounts" . }}
{{- else }}
- name: data
  mountPath: /var/lib/lighthouse
{{- end }}
{{- $redis := include "bridge.redis" . | fromYaml }}
{{- if $redis.host }}
- name: redis
  mountPath: /etc/lighthouse/redis
  readOnly: true
- name: redis-tls
  mountPath: /etc/lighthouse/redis-tls
  readOnly: true
{{- end }}
{{- if .Values.rules.existingConfigMap }}
- name: rules
  mountPath: /etc/lighthouse/rules
  readOnly: true
{{- end }}
{{- if .Values.rego.existingConfigMap }}
- name: rego
  mountPath: /etc/lighthouse/rego
  readOnly: true
{{- end }}
{{- if .Values.rego.url }}
- name: rego-token
  mountPath: /etc/lighthouse/rego-token
  readOnly: true
- name: rego-tls
  mountPath: /etc/lighthouse/rego-tls
  readOnly: true
{{- end }}
{{- if .Values.traces.existingSecret }}
- name: traces-token
  mountPath: /etc/lighthouse/traces-token
  readOnly: true
{{- end }}
{{- if .Values.traces.existingTlsSecret }}
- name: traces-tls
  mountPath: /etc/lighthouse/traces-tls
  readOnly: true
{{- end }}
{{- if include "lighthouse.secured" . }}
- name: tls
  mountPath: /etc/lighthouse/tls
  readOnly: true
{{- end }}
- name: auth
  mountPath: /etc/lighthouse/auth
  readOnly: true
- name: keys
  mountPath: /etc/lighthouse/keys
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- end }}

{{- define "bridge.volumes" }}
{{- if include "bridge.onPostgres" . }}
{{- $database := include "bridge.database" . | fromYaml }}
{{- include "bridge.databaseVolumes" (dict "database" $database "secret" $database.existingSecret) }}
{{- else }}
- name: data
  {{- if .Values.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim | default (include "lighthouse.bridge.name" .) | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ index .Values.resources.limits "ephemeral-storage" | toJson }}
  {{- end }}
{{- end }}
{{- $redis := include "bridge.redis" . | fromYaml }}
{{- if $redis.host }}
- name: redis
  secret:
    secretName: {{ $redis.existingSecret | quote }}
    defaultMode: 0440
    items:
      - key: password
        path: password
- name: redis-tls
  secret:
    secretName: {{ $redis.existingTlsSecret | quote }}
    defaultMode: 0440
    # Not all of it: where it is that of the Redis of this release it holds the server's own key too.
    items:
      - key: ca.crt
        path: ca.crt
      {{- if $redis.clientCertificate }}
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
      {{- end }}
{{- end }}
{{- if .Values.rules.existingConfigMap }}
- name: rules
  configMap:
    name: {{ .Values.rules.existingConfigMap | quote }}
    defaultMode: 0440
{{- end }}
{{- if .Values.rego.existingConfigMap }}
- name: rego
  configMap:
    name: {{ .Values.rego.existingConfigMap | quote }}
    defaultMode: 0440
{{- end }}
{{- if .Values.rego.url }}
- name: rego-token
  secret:
    secretName: {{ .Values.rego.existingSecret | quote }}
    defaultMode: 0440
    items:
      - key: token
        path: token
- name: rego-tls
  secret:
    secretName: {{ .Values.rego.existingTlsSecret | quote }}
    defaultMode: 0440
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
{{- with .Values.traces.existingSecret }}
- name: traces-token
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
    items:
      - key: token
        path: token
{{- end }}
{{- with .Values.traces.existingTlsSecret }}
- name: traces-tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
{{- if include "lighthouse.secured" . }}
- name: tls
  secret:
    secretName: {{ .Values.tls.existingSecret | default (include "lighthouse.bridge.tlsSecretName" .) | quote }}
    defaultMode: 0440
    items:
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
      {{- if eq .Values.tls.clients "verified" }}
      - key: ca.crt
        path: ca.crt
      {{- end }}
{{- end }}
- name: auth
  secret:
    secretName: {{ .Values.auth.existingSecret | default (include "lighthouse.bridge.authSecretName" .) | quote }}
    defaultMode: 0440
    items:
      - key: auth-secret
        path: auth-secret
- name: keys
  secret:
    secretName: {{ .Values.keys.existingSecret | default (include "lighthouse.bridge.keysSecretName" .) | quote }}
    defaultMode: 0440
    items:
      - key: expert
        path: expert
      - key: builder
        path: builder
      - key: operator
        path: operator
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.tmpSize | toJson }}
{{- end }}
