"""Pure. The nouns, the tables and the sums of the house; nothing here awaits, reads a clock or opens anything."""
