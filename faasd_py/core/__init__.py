"""Pure. The nouns, the tables and the sums of the daemon; nothing here awaits, reads a clock or opens anything."""
