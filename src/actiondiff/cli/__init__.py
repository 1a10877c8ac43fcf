"""The command line: each command parses its options, calls functions of the package and prints the result."""
