"""What is generated from the chart: schemas and README from its values files, docs/security.md from its tables.

A comment above a value is its description. Between two `# @schema` lines a
comment holds JSON Schema, as YAML, that is laid over what the default tells
(the notation of dadav/helm-schema, so that editors and readers know it).
"""
