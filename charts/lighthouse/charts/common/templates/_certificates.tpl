{{- /* What makers of certificates share. */ -}}

{{- /* Whether connections to the bridge are encrypted; answers with text or nothing. */ -}}
{{- define "lighthouse.secured" -}}
{{- if ne .Values.global.certificates.maker "none" -}}
secured
{{- end -}}
{{- end -}}

{{- /* The host names of a Service, as JSON: those that pods of its namespace and of others use.
       Arguments: context, service, namespace. */ -}}
{{- define "lighthouse.serviceNames" -}}
{{- $long := printf "%s.%s.svc" .service .namespace -}}
{{- $domain := trimSuffix "." .context.Values.global.clusterDomain -}}
{{- list .service (printf "%s.%s" .service .namespace) $long (printf "%s.%s" $long $domain) | toJson -}}
{{- end -}}

{{- /*
A certificate that the chart makes itself, as `data` of its Secret: the one in the cluster, else a new one, for
server and client. "helm template" finds none and makes another each time.
Arguments: context, secret, namespace, name (its common name), names, addresses, days, and authority, the data of an
authority's Secret. Without one the certificate gets an authority of its own, whose key is forgotten at once.
*/ -}}
{{- define "lighthouse.certificate" -}}
{{- $found := get (lookup "v1" "Secret" .namespace .secret | default dict) "data" | default dict -}}
{{- $isOfAnother := and .authority (ne (get $found "ca.crt") (get (.authority | default dict) "tls.crt")) -}}
{{- if or (not (hasKey $found "tls.key")) $isOfAnother -}}
{{- $ca := dict -}}
{{- if .authority -}}
{{- $ca = buildCustomCert (get .authority "tls.crt") (get .authority "tls.key") -}}
{{- else -}}
{{- $ca = genCAWithKey (printf "%s-ca" .name) .days (genPrivateKey "ecdsa") -}}
{{- end -}}
{{- $leaf := genSignedCertWithKey .name .addresses .names .days $ca (genPrivateKey "ecdsa") -}}
{{- $found = dict "ca.crt" ($ca.Cert | b64enc) "tls.crt" ($leaf.Cert | b64enc) "tls.key" ($leaf.Key | b64enc) -}}
{{- end -}}
{{- pick $found "ca.crt" "tls.crt" "tls.key" | toYaml -}}
{{- end -}}
