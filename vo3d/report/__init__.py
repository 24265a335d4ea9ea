"""Figures that compose, and the self-contained HTML report."""
