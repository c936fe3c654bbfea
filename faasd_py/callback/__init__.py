"""A messenger: brings one outcome to one URL. Does not decide whether the work succeeded."""
