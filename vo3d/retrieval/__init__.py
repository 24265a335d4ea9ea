"""Finding what is near: exact search among descriptors, clusters, principal components."""
