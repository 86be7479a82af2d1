{{- /* A quantity of Kubernetes in thousandths, as a number that `float64` reads: "100m" is 100, "1Ki" is 1024000.
       Multiplied as decimals, so that "0.7" and "700m" are equal. Arguments: a string or a number. */ -}}
{{- define "lighthouse.quantity" -}}
{{- $text := toString . -}}
{{- $suffix := regexFind "([kMGTPE]|[KMGTPE]i|m)$" $text -}}
{{- $factors := dict "m" 1 "" 1000 "k" 1e6 "M" 1e9 "G" 1e12 "T" 1e15 "P" 1e18 "E" 1e21 -}}
{{- $factor := get $factors $suffix -}}
{{- if hasSuffix "i" $suffix -}}
{{- $factor = 1000 -}}
{{- range until (add1 (index (dict "Ki" 0 "Mi" 1 "Gi" 2 "Ti" 3 "Pi" 4 "Ei" 5) $suffix) | int) -}}
{{- $factor = mulf $factor 1024 -}}
{{- end -}}
{{- end -}}
{{- mulf (trimSuffix $suffix $text) $factor -}}
{{- end -}}
{{- /* Requests and limits with every amount as text: operators' kinds take whole numbers or text, and refuse 1.5. */ -}}
{{- define "lighthouse.resources" -}}
{{- range $kind, $amounts := . }}
{{ $kind }}:
  {{- range $name, $amount := $amounts }}
  {{ $name }}: {{ toJson $amount | trimAll "\"" | quote }}
  {{- end }}
{{- end }}
{{- end -}}
