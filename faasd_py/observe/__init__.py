"""Log, metrics, events: what is seen of the daemon. It counts and tells; it changes nothing and raises into nobody."""
