"""The methods, one a file, named as their papers; each obeys `vo3d.model.Model`."""
