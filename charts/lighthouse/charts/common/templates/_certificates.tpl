{{- /* What makers of certificates share. */ -}}

{{- /* Whether connections to the bridge are encrypted; answers with text or nothing. */ -}}
{{- define "lighthouse.secured" -}}
{{- if ne .Values.global.certificates.maker "none" -}}
secured
{{- end -}}
{{- end -}}

{{- /* How the ports of metrics are asked, by kubelet too where they are those of probes: kubelet verifies nothing. */ -}}
{{- define "lighthouse.metrics.scheme" -}}
{{- ternary "HTTPS" "HTTP" .Values.global.certificates.metrics -}}
{{- end -}}

{{- /* The variable of our programs, if there is TLS. Arguments: context, folder (the certificate's). */ -}}
{{- define "lighthouse.metrics.env" }}
{{- if .context.Values.global.certificates.metrics }}
- name: LIGHTHOUSE_METRICS_TLS_DIR
  value: {{ .folder }}
{{- end }}
{{- end }}

{{- /* By which name Prometheus knows a component's certificate. Arguments: context, component. */ -}}
{{- define "lighthouse.metrics.host" -}}
{{- $name := include (printf "lighthouse.%s.name" .component) .context -}}
{{- $namespace := include (printf "lighthouse.%s.namespace" .component) .context -}}
{{- $name }}.{{ $namespace }}{{ ternary ".svc" "" (has .component (list "bridge" "redis")) }}
{{- end -}}

{{- /* What a PodMonitor says of TLS. Arguments: context, host, secret (with the authority, in the monitor's namespace). */ -}}
{{- define "lighthouse.metrics.tls" }}
{{- if .context.Values.global.certificates.metrics }}
scheme: https
tlsConfig:
  serverName: {{ .host }}
  ca:
    secret:
      name: {{ .secret | quote }}
      key: ca.crt
{{- end }}
{{- end }}

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
authority's Secret, whose key may be missing where the certificate is there.
*/ -}}
{{- define "lighthouse.certificate" -}}
{{- $found := get (lookup "v1" "Secret" .namespace .secret | default dict) "data" | default dict -}}
{{- if or (not (hasKey $found "tls.key")) (ne (get $found "ca.crt") (get .authority "tls.crt")) -}}
{{- $ca := buildCustomCert (get .authority "tls.crt") (get .authority "tls.key") -}}
{{- $leaf := genSignedCertWithKey .name .addresses .names .days $ca (genPrivateKey "ecdsa") -}}
{{- $found = dict "ca.crt" ($ca.Cert | b64enc) "tls.crt" ($leaf.Cert | b64enc) "tls.key" ($leaf.Key | b64enc) -}}
{{- end -}}
{{- pick $found "ca.crt" "tls.crt" "tls.key" | toYaml -}}
{{- end -}}
