"""Shared helpers: atomic file writes, errors, Markdown and LaTeX tables, threads."""
