"""Alembic runs this file: it migrates over the connection that the store gives."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, transactional_ddl=False, version_table=context.config.attributes["version_table"]
)
context.run_migrations()
