"""One LightningModule, one LightningDataModule, callbacks, and the trainer's command line."""
