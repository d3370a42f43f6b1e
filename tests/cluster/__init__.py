"""A real Kubernetes API server, etcd and Argo on loopback for the tests, without containers."""
