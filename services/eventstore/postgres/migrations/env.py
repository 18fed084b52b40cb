"""Run by Alembic: apply the steps inside the transaction that `migrate` has begun."""

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    version_table=attributes["version_table"],
    version_table_schema=attributes["schema"],
)
with context.begin_transaction():
    context.run_migrations()
