"""What the optimisers of the survey do, in pictures and tables: `vo3d optimizers`."""
