"""Weights by name, as files: `NAME.safetensors` that vo3d brings, `NAME.yaml` for what others published or has none.

`vo3d.inference.cards` reads them.
"""
