"""A pair of hands: leases calls, runs them, settles them. Knows no HTTP request and not which queue this is."""
