"""What notebook 17 needs that is longer than a cell."""
