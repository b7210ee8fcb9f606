"""The kinds of IM servers that report presence, each with what it sends and how it is asked."""
