"""`vo3d trajectory` and `vo3d convert-trajectory`: score trajectory files against a reference, and rewrite them."""
