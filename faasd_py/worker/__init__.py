"""The workers: lease, attempt, verdict, settle; lane by lane."""
