"""Functions that are called by the clock: each slot of a schedule puts one asynchronous call."""
