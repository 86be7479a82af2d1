"""Shows a Lighthouse project to unprivileged pods: the CSI node driver and the sidecar that serves FUSE."""

VERSION = "0.1.0"
