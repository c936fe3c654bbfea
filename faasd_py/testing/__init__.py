"""What plug-in authors test against: the contracts as test suites, and fakes."""
