"""Complete experiments as YAML; a bare file name given to `-c` is looked up here after the working folder."""
