"""One reader for each form a data set may come in: each gives rows of text cells, a few at a time.

source              what every reader gives
formats             the reader of a path or name: one of those below, or the hub
encoding            bytes -> text: gzip, UTF-8, a byte order mark, or the encoding a person names
delimited           CSV and TSV; dialect: separator, quoting, header
json_rows           JSON and JSONL; json_layout: how the rows lie in the file
annotated           Label Studio and doccano
arrow               Parquet files and saved `datasets` folders
"""
