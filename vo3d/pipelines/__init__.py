"""What a verb does, one file or folder each."""
