"""The work behind the verbs of the command line, one file or folder each."""
