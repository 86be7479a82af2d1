{{- /*
PostgreSQL's parameters, computed from the limits of an instance and the size of its WAL volume, so that a larger
machine is used without a second place to edit. docs/postgres.md says why each is what it is.
*/ -}}
{{- define "postgres.mebibytes" -}}
{{- divf (include "lighthouse.quantity" . | float64) 1048576000.0 | floor | int64 -}}
{{- end -}}

{{- define "postgres.cores" -}}
{{- divf (include "lighthouse.quantity" . | float64) 1000.0 | ceil | int64 -}}
{{- end -}}

{{- define "postgres.parameters" -}}
{{- $memory := include "postgres.mebibytes" .Values.resources.limits.memory | int64 -}}
{{- $wal := include "postgres.mebibytes" .Values.walStorage.size | int64 -}}
{{- $cores := include "postgres.cores" .Values.resources.limits.cpu | int64 -}}
{{- $connections := int64 .Values.maxConnections -}}
shared_buffers: {{ printf "%dMB" (div $memory 4) }}
effective_cache_size: {{ printf "%dMB" (div (mul $memory 3) 4) }}
work_mem: {{ printf "%dkB" (max 64 (div (mul $memory 256) $connections)) }}
maintenance_work_mem: {{ printf "%dMB" (min 2048 (max 16 (div $memory 16))) }}
max_connections: {{ $connections | quote }}
max_parallel_workers: {{ $cores | quote }}
max_parallel_workers_per_gather: {{ max 1 (div $cores 2) | quote }}
max_parallel_maintenance_workers: {{ max 1 (div $cores 2) | quote }}
max_worker_processes: {{ add $cores 8 | quote }}
max_wal_size: {{ printf "%dMB" (max 128 (div $wal 4)) }}
min_wal_size: {{ printf "%dMB" (max 64 (div $wal 16)) }}
max_slot_wal_keep_size: {{ printf "%dMB" (max 128 (div $wal 2)) }}
wal_keep_size: {{ printf "%dMB" (min 512 (max 64 (div $wal 8))) }}
wal_buffers: 16MB
wal_compression: pglz
wal_retrieve_retry_interval: 1s
checkpoint_timeout: 15min
checkpoint_completion_target: "0.9"
random_page_cost: "1.1"
effective_io_concurrency: "200"
default_statistics_target: "100"
tcp_keepalives_idle: "10"
tcp_keepalives_interval: "5"
tcp_keepalives_count: "3"
tcp_user_timeout: "20000"
log_checkpoints: "on"
log_lock_waits: "on"
log_min_duration_statement: 1s
pgaudit.log: {{ join ", " .Values.audit.classes | quote }}
pgaudit.log_catalog: "off"
pgaudit.log_parameter: "off"
{{- end -}}
