"""One reader per file format; each yields rows of text cells, a few at a time.

source              what every reader provides
formats             chooses the reader for a path or name, or the hub
encoding            bytes -> text: gzip, UTF-8, a byte order mark, or a named encoding
delimited           CSV and TSV; dialect: separator, quoting, header
json_rows           JSON and JSONL; json_layout: how rows are arranged in the file
annotated           Label Studio and doccano
arrow               Parquet files and saved `datasets` folders
"""
