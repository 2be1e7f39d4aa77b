"""The databases' histories: how their tables came to be, one folder each."""
