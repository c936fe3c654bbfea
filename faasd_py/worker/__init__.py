"""A pair of hands: lease, attempt, verdict, settle; lane by lane."""
