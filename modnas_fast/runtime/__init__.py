"""What every room stands on: files by rename, progress, stopping, placement, implementations, checkpoints."""
