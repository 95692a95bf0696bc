"""What notebooks 10 to 13 measure."""
