{{- /*
Every name that more than one template needs, defined once. Subcharts cannot
see each other's values, so a name may depend on the release alone.
All helpers of Lighthouse start with "lighthouse." because Helm puts the
templates of every chart of an umbrella into one namespace.
*/ -}}

{{- /* The prefix of all objects: the release name, with "lighthouse" in it.
       40 characters leave room for component, role and controller suffixes in 63. */ -}}
{{- define "lighthouse.fullname" -}}
{{- if contains "lighthouse" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-lighthouse" (.Release.Name | trunc 29 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "lighthouse.bridge.name" -}}
{{- include "lighthouse.fullname" . }}-bridge
{{- end -}}

{{- define "lighthouse.agents.name" -}}
{{- include "lighthouse.fullname" . }}-agents
{{- end -}}

{{- define "lighthouse.fuse-csi.name" -}}
{{- include "lighthouse.fullname" . }}-fuse-csi
{{- end -}}

{{- define "lighthouse.postgres.name" -}}
{{- include "lighthouse.fullname" . }}-postgres
{{- end -}}

{{- /* The certificate of its instances, where cert-manager makes it. */ -}}
{{- define "lighthouse.postgres.tlsSecretName" -}}
{{- include "lighthouse.postgres.name" . }}-tls
{{- end -}}

{{- define "lighthouse.postgres.namespace" -}}
{{- .Release.Namespace -}}
{{- end -}}

{{- define "lighthouse.monitoring.name" -}}
{{- include "lighthouse.fullname" . }}-monitoring
{{- end -}}

{{- /* Where rules over several components are; those about one are in its namespace. */ -}}
{{- define "lighthouse.monitoring.namespace" -}}
{{- .Release.Namespace -}}
{{- end -}}

{{- /* That of what is made for no single component. */ -}}
{{- define "lighthouse.certificates.namespace" -}}
{{- .Release.Namespace -}}
{{- end -}}

{{- define "lighthouse.bridge.namespace" -}}
{{- .Release.Namespace -}}
{{- end -}}

{{- define "lighthouse.agents.namespace" -}}
{{- include "lighthouse.namespace" (dict "context" . "suffix" "agents") -}}
{{- end -}}

{{- define "lighthouse.fuse-csi.namespace" -}}
{{- include "lighthouse.namespace" (dict "context" . "suffix" "fuse-csi") -}}
{{- end -}}

{{- /* Arguments: context, suffix. A shortened namespace could be somebody else's, so a long one is refused. */ -}}
{{- define "lighthouse.namespace" -}}
{{- $name := printf "%s-%s" .context.Release.Namespace .suffix -}}
{{- if gt (len $name) 63 -}}
{{- fail (printf "The namespace %q is longer than 63 characters; install the release into a namespace of at most 54 characters." $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- /* The name by which clients within the cluster know the bridge's certificate: none ends with a dot. */ -}}
{{- define "lighthouse.bridge.tlsName" -}}
{{- include "lighthouse.bridge.name" . }}.{{ .Release.Namespace }}.svc.{{ trimSuffix "." .Values.global.clusterDomain }}
{{- end -}}

{{- /* The bridge's address as agents see it. */ -}}
{{- define "lighthouse.bridge.url" -}}
{{- if include "lighthouse.secured" . -}}
https://{{ include "lighthouse.bridge.tlsName" . }}:8765
{{- else -}}
http://{{ include "lighthouse.bridge.name" . }}.{{ .Release.Namespace }}.svc.{{ .Values.global.clusterDomain }}:8765
{{- end -}}
{{- end -}}

{{- /* Secrets the bridge's chart makes unless existing ones are named. */ -}}
{{- define "lighthouse.bridge.authSecretName" -}}
{{- include "lighthouse.bridge.name" . }}-auth
{{- end -}}

{{- define "lighthouse.bridge.keysSecretName" -}}
{{- include "lighthouse.bridge.name" . }}-keys
{{- end -}}

{{- define "lighthouse.redis.name" -}}
{{- include "lighthouse.fullname" . }}-redis
{{- end -}}

{{- /* Beside the bridge, which mounts a password and the authority's certificate. */ -}}
{{- define "lighthouse.redis.namespace" -}}
{{- .Release.Namespace -}}
{{- end -}}

{{- /* Secrets the chart of Redis makes unless existing ones are named. */ -}}
{{- define "lighthouse.redis.usersSecretName" -}}
{{- include "lighthouse.redis.name" . }}-users
{{- end -}}

{{- define "lighthouse.redis.tlsSecretName" -}}
{{- include "lighthouse.redis.name" . }}-tls
{{- end -}}

{{- /* What clients show to Redis, with its authority. */ -}}
{{- define "lighthouse.redis.clientTlsSecretName" -}}
{{- include "lighthouse.redis.name" . }}-client-tls
{{- end -}}

{{- /* Secrets with certificates, whoever makes them. Those of the agents are in their namespace. */ -}}
{{- define "lighthouse.bridge.tlsSecretName" -}}
{{- include "lighthouse.bridge.name" . }}-tls
{{- end -}}

{{- define "lighthouse.agents.tlsSecretName" -}}
{{- include "lighthouse.agents.name" . }}-tls
{{- end -}}

{{- /* The driver shows one to Prometheus alone. */ -}}
{{- define "lighthouse.fuse-csi.tlsSecretName" -}}
{{- include "lighthouse.fuse-csi.name" . }}-tls
{{- end -}}

{{- /* That of a client beside the release. Arguments: context, client. */ -}}
{{- define "lighthouse.client.tlsSecretName" -}}
{{- include "lighthouse.fullname" .context }}-client-{{ .client }}-tls
{{- end -}}

{{- /* The chart's own authority, whose key no pod sees. */ -}}
{{- define "lighthouse.authoritySecretName" -}}
{{- include "lighthouse.fullname" . }}-authority
{{- end -}}

{{- /* The prefix of objects that two releases of one name in two namespaces must not share. */ -}}
{{- define "lighthouse.clusterName" -}}
{{- list .Release.Namespace (include "lighthouse.fullname" .) | uniq | join "-" -}}
{{- end -}}

{{- define "lighthouse.edge.name" -}}
{{- include "lighthouse.fullname" . }}-edge
{{- end -}}

{{- define "lighthouse.edge.namespace" -}}
{{- .Release.Namespace -}}
{{- end -}}

{{- /* The certificate that clients see, unless an existing Secret is named. */ -}}
{{- define "lighthouse.edge.tlsSecretName" -}}
{{- include "lighthouse.edge.name" . }}-tls
{{- end -}}

{{- /* The certificate that the controller shows to bridges, with their authority. */ -}}
{{- define "lighthouse.edge.clientTlsSecretName" -}}
{{- include "lighthouse.edge.name" . }}-client-tls
{{- end -}}

{{- /* The authority of bridges as HAProxy's controller reads it. */ -}}
{{- define "lighthouse.edge.authoritySecretName" -}}
{{- include "lighthouse.edge.name" . }}-authority
{{- end -}}
