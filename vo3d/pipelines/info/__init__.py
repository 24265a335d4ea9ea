"""`vo3d info`: what is installed, what a model is made of, what weights are."""
