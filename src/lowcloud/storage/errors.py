"""What keeps a server from its database. Here alone, so that commands that need no database load none."""


class DatabaseUnusable(Exception):
    """Why, and what to do. No password is in it."""
