"""An eye on the house: log, metrics, events. It counts and tells; it changes nothing and raises into nobody."""
