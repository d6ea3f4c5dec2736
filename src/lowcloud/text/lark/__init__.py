"""Callers' grammars in Lark: read, and written anew for texts inside JSON strings."""
