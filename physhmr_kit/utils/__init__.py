"""What every room may use and that knows nothing of motion: files that appear whole or not at all, errors, threads."""
