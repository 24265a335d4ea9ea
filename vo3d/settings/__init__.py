"""Words into objects: class paths and tables of settings."""
