"""An eye: counters, log lines and events. Changes nothing and raises into nobody."""
