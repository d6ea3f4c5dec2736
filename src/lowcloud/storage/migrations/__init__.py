"""Alembic's environment and the migrations, run by ``storage/database.py``."""
