"""Takes requests and sends them to a function, to the queue or to the control plane."""
