"""A wire: HTTP/1.1 on trio, both ends. Knows nothing of functions and queues."""
