"""The database: data sets, and runs as append-only logs of events. `core` and sqlite-utils alone.

database            a connection to SQLite whose every error says what to do
migrations          the schema, as named migrations, and read-only SQL views (docs/database.md)
bodies              what each kind of event says, as it is stored: types
events              RunSpec, search records, interventions and whole states, to and from JSON
store               what is read and written: data sets, events after a cursor, commands, leases
datasets            data sets in parts, the batches they are split into; never their gold
lazy_examples       rows of a data set, read when they are looked at
replay              a stored run: its spec, its data, and its state after any event
"""
