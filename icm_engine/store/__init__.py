"""The database: data sets, and runs as append-only logs of events. Only `core` and sqlite-utils.

database            a connection to SQLite whose errors all name a remedy
migrations          the schema, as named migrations, and read-only SQL views (docs/database.md)
events              RunSpec, search records, interventions and snapshots, to and from JSON
store               reading and writing: data sets, events after a cursor, commands, leases
datasets            data sets in parts, and the batches they are split into; never their gold
lazy_examples       rows of a data set, read on access
replay              a stored run: its spec, its data, and its state after any event
"""
