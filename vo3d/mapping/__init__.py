"""Parts of systems that follow a camera: features, depth filters, key frames, bundle adjustment."""
