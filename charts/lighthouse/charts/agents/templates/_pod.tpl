{{- /* The pod of one expert. Arguments: context, name, expert. */ -}}
{{- define "agents.podSpec" -}}
{{- $values := .context.Values -}}
{{- $scheme := include "lighthouse.metrics.scheme" .context -}}
serviceAccountName: {{ include "lighthouse.agents.name" .context }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
securityContext:
  {{- include "lighthouse.podSecurityContext" .context | nindent 2 }}
{{- include "lighthouse.podSettings" .context }}
initContainers:
  # A native sidecar: the agent container starts once the file system is served,
  # and the sidecar stops after it.
  - name: fuse
    image: {{ include "lighthouse.image" (dict "context" .context "image" $values.fuse.image) | quote }}
    imagePullPolicy: {{ $values.fuse.image.pullPolicy }}
    restartPolicy: Always
    args: [sidecar]
    securityContext:
      {{- include "lighthouse.securityContext" .context | nindent 6 }}
    env:
      {{- include "lighthouse.list" (dict "own" (include "agents.fuseEnv" .) "extra" $values.fuse.extraEnv "key" "name" "value" "agents.fuse.extraEnv") | nindent 6 }}
    ports:
      - name: fuse-http
        containerPort: 8081
    startupProbe:
      httpGet: {path: /ready, port: fuse-http, scheme: {{ $scheme }}}
      periodSeconds: 1
      timeoutSeconds: 2
      failureThreshold: {{ $values.fuse.startupSeconds }}
    readinessProbe:
      httpGet: {path: /ready, port: fuse-http, scheme: {{ $scheme }}}
      periodSeconds: 5
      timeoutSeconds: 3
      failureThreshold: 3
    resources:
      {{- toYaml $values.fuse.resources | nindent 6 }}
    volumeMounts:
      - name: control
        mountPath: /run/lighthouse-control
      - name: cache
        mountPath: /var/cache/lighthouse
      - name: key
        mountPath: /etc/lighthouse/key
        readOnly: true
      {{- with include "agents.tlsMount" .context | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      - name: fuse-tmp
        mountPath: /tmp
containers:
  - name: agent
    image: {{ include "lighthouse.image" (dict "context" .context "image" $values.image) | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args: [run]
    securityContext:
      {{- include "lighthouse.securityContext" .context | nindent 6 }}
    env:
      {{- include "lighthouse.list" (dict "own" (include "agents.agentEnv" .) "extra" $values.extraEnv "key" "name" "value" "agents.extraEnv") | nindent 6 }}
    ports:
      - name: http
        containerPort: 8083
    startupProbe:
      httpGet: {path: /health, port: http, scheme: {{ $scheme }}}
      periodSeconds: 1
      timeoutSeconds: 2
      failureThreshold: 60
    livenessProbe:
      httpGet: {path: /health, port: http, scheme: {{ $scheme }}}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 3
    readinessProbe:
      httpGet: {path: /ready, port: http, scheme: {{ $scheme }}}
      periodSeconds: 5
      timeoutSeconds: 3
      failureThreshold: 2
    resources:
      {{- toYaml $values.resources | nindent 6 }}
    volumeMounts:
      {{- include "lighthouse.list" (dict "own" (include "agents.volumeMounts" .) "extra" $values.extraVolumeMounts "key" "mountPath" "value" "agents.extraVolumeMounts") | nindent 6 }}
volumes:
  {{- include "lighthouse.list" (dict "own" (include "agents.volumes" .) "extra" $values.extraVolumes "key" "name" "value" "agents.extraVolumes") | nindent 2 }}
{{- end -}}

{{- /* The size of the sidecar's cache volume: a quarter more than it fills, since kubelet evicts a pod that
       exceeds it. Arguments: the MiB that it fills. */ -}}
{{- define "lighthouse.agents.cacheSize" -}}
{{- div (mul . 5) 4 }}Mi
{{- end -}}

{{- define "agents.env" }}
- name: LIGHTHOUSE_BRIDGE_URL
  value: {{ include "lighthouse.bridge.url" .context }}
- name: LIGHTHOUSE_AGENT_ID
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: LIGHTHOUSE_KEY_FILE
  value: /etc/lighthouse/key/key
- name: LIGHTHOUSE_LOG_LEVEL
  value: {{ .context.Values.logLevel }}
{{- if include "lighthouse.secured" .context }}
- name: LIGHTHOUSE_BRIDGE_TLS_DIR
  value: /etc/lighthouse/bridge-tls
{{- end }}
{{- include "lighthouse.metrics.env" (dict "context" .context "folder" "/etc/lighthouse/bridge-tls") }}
{{- end }}

{{- define "agents.fuseEnv" }}
{{- include "agents.env" . }}
- name: LIGHTHOUSE_CONTROL_DIR
  value: /run/lighthouse-control
- name: LIGHTHOUSE_CACHE_DIR
  value: /var/cache/lighthouse
- name: LIGHTHOUSE_CACHE_MIB
  value: {{ .context.Values.fuse.cacheMiB | quote }}
{{- end }}

{{- define "agents.agentEnv" }}
{{- include "agents.env" . }}
- name: LIGHTHOUSE_AGENT_TYPE
  value: {{ .expert.type | quote }}
- name: LIGHTHOUSE_AGENT_CAPABILITIES
  value: {{ join "," .expert.capabilities | quote }}
- name: LIGHTHOUSE_MOUNT
  value: /mnt/lighthouse/project
{{- end }}

{{- define "agents.volumeMounts" }}
# The project is mounted below this volume, again after a crash of the sidecar:
# it reaches a running container only by propagation.
- name: project
  mountPath: /mnt/lighthouse
  readOnly: true
  mountPropagation: HostToContainer
- name: key
  mountPath: /etc/lighthouse/key
  readOnly: true
{{- include "agents.tlsMount" .context }}
- name: tmp
  mountPath: /tmp
{{- end }}

{{- define "agents.tlsMount" }}
{{- if include "lighthouse.secured" . }}
- name: bridge-tls
  mountPath: /etc/lighthouse/bridge-tls
  readOnly: true
{{- end }}
{{- end }}

{{- define "agents.volumes" }}
- name: project
  csi:
    driver: {{ .context.Values.global.csiDriverName | quote }}
    readOnly: true
    volumeAttributes:
      role: data
- name: control
  csi:
    driver: {{ .context.Values.global.csiDriverName | quote }}
    volumeAttributes:
      role: control
- name: cache
  emptyDir:
    sizeLimit: {{ include "lighthouse.agents.cacheSize" .context.Values.fuse.cacheMiB }}
- name: key
  secret:
    secretName: {{ .context.Values.key.existingSecret | default (printf "%s-key" (include "lighthouse.agents.name" .context)) | quote }}
    defaultMode: 0440
    items:
      - key: {{ ternary .name "expert" (empty .context.Values.key.existingSecret) }}
        path: key
{{- if include "lighthouse.secured" .context }}
{{- $secret := .context.Values.tls.existingSecret | default (include "lighthouse.agents.tlsSecretName" .context) }}
- name: bridge-tls
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ $secret | quote }}
          items:
            - key: ca.crt
              path: ca.crt
      - secret:
          name: {{ $secret | quote }}
          {{- if eq .context.Values.global.certificates.maker "existing" }}
          # Only where the bridge asks for a client's certificate.
          optional: true
          {{- end }}
          items:
            - key: tls.crt
              path: tls.crt
            - key: tls.key
              path: tls.key
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .context.Values.tmpSize | toJson }}
- name: fuse-tmp
  emptyDir:
    sizeLimit: 16Mi
{{- end }}
