"""The sources of data, one a file; each yields `vo3d.sample.Sample` in metres, radians and seconds."""
