{{- /* Where bridges keep their store and what they share: as the values say, or in this release, whose names and
       Secrets follow from its own name. */ -}}

{{- /* Whether bridges are on PostgreSQL; answers with text or nothing. */ -}}
{{- define "bridge.onPostgres" -}}
{{- if or .Values.database.host .Values.database.own -}}
postgres
{{- end -}}
{{- end -}}

{{- /* `database` of the values, as YAML. */ -}}
{{- define "bridge.database" -}}
{{- $found := deepCopy .Values.database -}}
{{- if $found.own -}}
{{- $name := include "lighthouse.postgres.name" . -}}
{{- $_ := set $found "host" (printf "%s-rw" $name) -}}
{{- if $found.readReplicas -}}
{{- /* The primary too: a replica is preferred, and there may be none. */ -}}
{{- $_ := set $found "readHost" (printf "%s-ro,%s-rw" $name $name) -}}
{{- end -}}
{{- $_ := set $found "existingSecret" ($found.existingSecret | default (printf "%s-bridge" $name)) -}}
{{- if not $found.existingTlsSecret -}}
{{- $made := eq .Values.global.certificates.maker "cert-manager" -}}
{{- /* That Secret holds the server's own key too. */ -}}
{{- $_ := set $found "authorityAlone" $made -}}
{{- $_ := set $found "existingTlsSecret" (ternary (include "lighthouse.postgres.tlsSecretName" .) (printf "%s-ca" $name) $made) -}}
{{- end -}}
{{- $_ := set $found.migration "existingSecret" ($found.migration.existingSecret | default (printf "%s-migrator" $name)) -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{- /* `redis` of the values, as YAML. */ -}}
{{- define "bridge.redis" -}}
{{- $found := deepCopy .Values.redis -}}
{{- if $found.own -}}
{{- $name := include "lighthouse.redis.name" . -}}
{{- $domain := trimSuffix "." .Values.global.clusterDomain -}}
{{- $_ := set $found "host" (printf "%s.%s.svc.%s" $name .Release.Namespace $domain) -}}
{{- $_ := set $found "username" "bridge" -}}
{{- $_ := set $found "existingSecret" ($found.existingSecret | default (printf "%s-bridge" $name)) -}}
{{- $_ := set $found "existingTlsSecret" ($found.existingTlsSecret | default (include "lighthouse.redis.clientTlsSecretName" .)) -}}
{{- $_ := set $found "clientCertificate" true -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}
