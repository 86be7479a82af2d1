"""Generated protobuf messages of the Container Storage Interface and of kubelet's plugin registration."""
