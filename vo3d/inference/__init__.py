"""A trained model made ready and run: by name, on a device, window after window, with progress and cost."""
