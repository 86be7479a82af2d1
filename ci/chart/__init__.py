"""What is generated from the chart's commented values files: the schemas and the chart's README.

A comment above a value is its description. Between two `# @schema` lines a
comment holds JSON Schema, as YAML, that is laid over what the default tells
(the notation of dadav/helm-schema, so that editors and readers know it).
"""
