"""What every room may use: files that appear whole or not at all, errors, Markdown tables, threads."""
