"""The pytest plugin: loaded by its entry point, idle until a chart is named."""
