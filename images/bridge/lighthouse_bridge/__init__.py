"""The Lighthouse bridge: validates agents' tool calls, keeps the event log and serves the project's tree."""
