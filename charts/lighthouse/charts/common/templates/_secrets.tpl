{{- /*
A generated secret value: the one in the cluster, else a random one.
The bridge and the agents need the same key in two namespaces and a pod's
checksum needs it a third time, but every call of randAlphaNum differs and
lookup finds nothing in "helm template". So the first answer of a render is
kept in .Release, the one map that all charts of a render share.
Arguments: context, secret, key. The secret lives in the release namespace.
*/ -}}
{{- define "lighthouse.generated" -}}
{{- $release := .context.Release -}}
{{- $memo := get $release "lighthouseGenerated" | default dict -}}
{{- $id := printf "%s/%s" .secret .key -}}
{{- if not (hasKey $memo $id) -}}
{{- $live := lookup "v1" "Secret" $release.Namespace .secret | default dict -}}
{{- $_ := set $memo $id (get (get $live "data" | default dict) .key | b64dec | default (randAlphaNum 48)) -}}
{{- $_ := set $release "lighthouseGenerated" $memo -}}
{{- end -}}
{{- get $memo $id -}}
{{- end -}}
