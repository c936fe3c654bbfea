"""Callbacks: one URL, one signed POST, and a guard that knows whom it may call."""
