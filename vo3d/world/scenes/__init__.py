"""Scene kinds, one a file; `vo3d render NAME` finds `NAME.py` here."""
