"""The door-keeper: takes requests, sends them to a function, to the queue or to the control plane."""
