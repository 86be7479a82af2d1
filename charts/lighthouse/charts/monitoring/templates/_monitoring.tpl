{{- /*
Parts of what Prometheus gets. The umbrella puts them together (templates/monitoring.yaml), since only it knows which
components a release has.
*/ -}}

{{- /* Labels of every object, with those by which an instance of Prometheus selects them. Arguments: the context of
       this chart. */ -}}
{{- define "monitoring.labels" -}}
{{- toYaml (merge (fromYaml (include "lighthouse.labels" (dict "context" . "component" "monitoring"))) (deepCopy .Values.labels)) -}}
{{- end -}}

{{- /* Series of a component's pods: what stands between the braces of a selector. Arguments: context, component. */ -}}
{{- define "monitoring.pods" -}}
{{- $namespace := include (printf "lighthouse.%s.namespace" .component) .context -}}
{{- $name := include (printf "lighthouse.%s.name" .component) .context -}}
{{- printf `namespace=%q,pod=~"%s-.+"` $namespace $name -}}
{{- end -}}

{{- /* How many pods a component should have by the values, as a number. Arguments: the umbrella's context. */ -}}
{{- define "monitoring.bridges" -}}
{{- $bridge := .Values.bridge -}}
{{- ternary $bridge.autoscaling.minReplicas $bridge.replicas $bridge.autoscaling.enabled -}}
{{- end -}}

{{- define "monitoring.experts" -}}
{{- $count := 0 -}}
{{- range $expert := .Values.agents.experts -}}
{{- if $expert -}}
{{- $count = add $count (dig "replicas" 1 $expert) -}}
{{- end -}}
{{- end -}}
{{- $count -}}
{{- end -}}

{{- /* What the words in files/ that begin with a dollar stand for, as JSON. Arguments: the umbrella's context. */ -}}
{{- define "monitoring.words" -}}
{{- $own := .Subcharts.monitoring.Values -}}
{{- $words := dict "availability" $own.availability "minimumRate" $own.minimumRate -}}
{{- $namespaces := list -}}
{{- $pods := list -}}
{{- range $component := list "bridge" "agents" "fuse-csi" -}}
{{- if hasKey $.Subcharts $component -}}
{{- $_ := set $words $component (include "monitoring.pods" (dict "context" $ "component" $component)) -}}
{{- $namespaces = append $namespaces (include (printf "lighthouse.%s.namespace" $component) $) -}}
{{- $pods = append $pods (include (printf "lighthouse.%s.name" $component) $) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $words "recorded" (printf `namespace=%q,release=%q` .Release.Namespace .Release.Name) -}}
{{- $_ := set $words "recordedOfAgents" (printf `namespace=%q,release=%q` (include "lighthouse.agents.namespace" .) .Release.Name) -}}
{{- $_ := set $words "ours" (printf `namespace=~"%s",pod=~"(%s)-.+"` ($namespaces | uniq | join "|") ($pods | join "|")) -}}
{{- $_ := set $words "namespaces" (append $namespaces .Release.Namespace | uniq | join "|") -}}
{{- $claims := list -}}
{{- with .Subcharts.redis -}}
{{- $claims = append $claims (printf "data-%s-[0-9]+" (include "lighthouse.redis.name" .)) -}}
{{- end -}}
{{- with .Subcharts.postgres -}}
{{- $claims = append $claims (printf "%s-[0-9]+(-wal)?" (include "lighthouse.postgres.name" .)) -}}
{{- $_ := set $words "postgres" (include "monitoring.pods" (dict "context" $ "component" "postgres")) -}}
{{- $_ := set $words "postgresInstances" .Values.instances -}}
{{- end -}}
{{- if hasKey .Subcharts "bridge" -}}
{{- $claims = append $claims (.Values.bridge.persistence.existingClaim | default (include "lighthouse.bridge.name" .)) -}}
{{- $_ := set $words "bridges" (include "monitoring.bridges" . | int) -}}
{{- end -}}
{{- with .Subcharts.edge -}}
{{- /* Traefik's routers of the release: their names have namespace and name of the Ingress or HTTPRoute. */ -}}
{{- $_ := set $words "edge" (printf `router=~"(.+-)?%s-%s-.+"` .Release.Namespace (include "lighthouse.edge.name" .)) -}}
{{- end -}}
{{- if hasKey .Subcharts "agents" -}}
{{- $_ := set $words "experts" (include "monitoring.experts" . | int) -}}
{{- end -}}
{{- $_ := set $words "volumes" (printf `namespace=%q,persistentvolumeclaim=~%q` .Release.Namespace ($claims | join "|")) -}}
{{- $words | toJson -}}
{{- end -}}

{{- /* Whether all that a rule is about is there; answers with text or nothing. Arguments: context (the umbrella's),
       rule. */ -}}
{{- define "monitoring.needed" -}}
{{- $own := .context.Subcharts.monitoring.Values -}}
{{- $there := true -}}
{{- range $need := .rule.needs -}}
{{- if eq . "cluster" -}}
{{- $there = and $there $own.clusterMetrics -}}
{{- else if eq . "cert-manager" -}}
{{- $there = and $there $own.certManager -}}
{{- else if eq . "edge" -}}
{{- $there = and $there $own.edgeMetrics (hasKey $.context.Subcharts "edge") -}}
{{- else if or (eq . "database") (eq . "backup") -}}
{{- /* Nothing is seen of instances that nobody scrapes. */ -}}
{{- $seen := false -}}
{{- with $.context.Subcharts.postgres -}}
{{- $seen = and (or .Values.podMonitor.enabled $own.scrapeConfig) (or (eq $need "database") .Values.backup.enabled) -}}
{{- end -}}
{{- $there = and $there $seen -}}
{{- else if eq . "experts" -}}
{{- $there = and $there (hasKey $.context.Subcharts "agents") (gt (include "monitoring.experts" $.context | int) 0) -}}
{{- else -}}
{{- $there = and $there (hasKey $.context.Subcharts .) -}}
{{- end -}}
{{- end -}}
{{- if $there -}}
needed
{{- end -}}
{{- end -}}

{{- /* The rules of a group, as a list in YAML: what is recorded, then what alerts. Arguments: context (the
       umbrella's), group. */ -}}
{{- define "monitoring.rules" -}}
{{- $part := .context.Subcharts.monitoring -}}
{{- $words := include "monitoring.words" .context | fromJson -}}
{{- $rules := list -}}
{{- range ($part.Files.Get "files/records.yaml" | fromYaml).records -}}
{{- if and (eq .group $.group) (include "monitoring.needed" (dict "context" $.context "rule" .)) -}}
{{- $expr := include "lighthouse.expression" (dict "expr" .expr "words" $words) -}}
{{- $rules = append $rules (dict "record" .record "expr" $expr "labels" (dict "release" $part.Release.Name)) -}}
{{- end -}}
{{- end -}}
{{- range $path, $_ := $part.Files.Glob "files/alerts/*.yaml" -}}
{{- $alert := $part.Files.Get $path | fromYaml -}}
{{- if and (eq $alert.group $.group) (include "monitoring.needed" (dict "context" $.context "rule" $alert)) -}}
{{- $limit := get $part.Values.thresholds ($path | base | trimSuffix ".yaml" | untitle) -}}
{{- $of := dict "path" $path "alert" $alert "words" $words "limit" $limit "runbooks" $part.Values.runbooks "release" $part.Release -}}
{{- $rules = append $rules (include "lighthouse.alert" $of | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{- /* A dashboard with the values of its thresholds, and how often what it shows is read. Arguments: context (the
       umbrella's), name. */ -}}
{{- define "monitoring.dashboard" -}}
{{- $own := .context.Subcharts.monitoring -}}
{{- $text := $own.Files.Get (printf "files/dashboards/%s.json" .name) -}}
{{- $often := dict "interval" $own.Values.interval -}}
{{- $given := dict "monitoring.thresholds" $own.Values.thresholds "monitoring" $often -}}
{{- /* The plain scrape config has everything read alike. */ -}}
{{- with .context.Subcharts.redis -}}
{{- $_ := set $given "redis.monitoring.thresholds" .Values.monitoring.thresholds -}}
{{- $_ := set $given "redis.monitoring" ($own.Values.scrapeConfig | ternary $often (pick .Values.monitoring "interval")) -}}
{{- end -}}
{{- with .context.Subcharts.postgres -}}
{{- $_ := set $given "postgres.podMonitor" ($own.Values.scrapeConfig | ternary $often (pick .Values.podMonitor "interval")) -}}
{{- end -}}
{{- range $path, $values := $given -}}
{{- range $name, $value := $values -}}
{{- $text = $text | replace (printf `"@%s.%s@"` $path $name) (toJson $value) -}}
{{- end -}}
{{- end -}}
{{- $text -}}
{{- end -}}

{{- /* One job of a plain scrape config. Arguments: context (the umbrella's), component, ports. */ -}}
{{- define "monitoring.job" -}}
{{- $labels := dict "app_kubernetes_io_name" "lighthouse" "app_kubernetes_io_instance" .context.Release.Name "app_kubernetes_io_component" .component -}}
{{- $host := include "lighthouse.metrics.host" . -}}
{{- if eq .component "postgres" -}}
{{- /* Its pods are the operator's. */ -}}
{{- $name := include "lighthouse.postgres.name" .context -}}
{{- $labels = dict "cnpg_io_cluster" $name "cnpg_io_podRole" "instance" -}}
{{- $host = printf "%s-rw" $name -}}
{{- end -}}
job_name: {{ .component }}
scrape_interval: {{ .context.Subcharts.monitoring.Values.interval }}
{{- if .context.Values.global.certificates.metrics }}
scheme: https
tls_config:
  server_name: {{ $host }}
  ca_file: {{ printf "%s/%s.crt" .context.Subcharts.monitoring.Values.authorities .component | quote }}
{{- end }}
kubernetes_sd_configs:
  - role: pod
    namespaces:
      names: [{{ include (printf "lighthouse.%s.namespace" .component) .context | quote }}]
relabel_configs:
  {{- range $label, $value := $labels }}
  - source_labels: [__meta_kubernetes_pod_label_{{ $label }}]
    regex: {{ $value | quote }}
    action: keep
  {{- end }}
  # The address of a pod that has ended may be another's by now.
  - source_labels: [__meta_kubernetes_pod_phase]
    regex: Failed|Succeeded
    action: drop
  - source_labels: [__meta_kubernetes_pod_container_port_name]
    regex: {{ .ports | join "|" | quote }}
    action: keep
  {{- range $label, $source := dict "namespace" "namespace" "pod" "pod_name" "container" "pod_container_name" "node" "pod_node_name" }}
  - source_labels: [__meta_kubernetes_{{ $source }}]
    target_label: {{ $label }}
  {{- end }}
{{- end -}}
