"""Data in and out: importing, tasks, gold kept apart, export. Nothing that a worker loads imports this room.

importing           from a file to a data set, all or nothing; deletion
import_plan         opens the file, finds its columns, makes its task; the preview
import_warnings     warnings about rows
columns             which column is which field, by common names or as the person says
spellings           meanings of column names and label cells
column_evidence     what the first rows say about a column
row_parser          rows -> examples with swapped twins, after a scan for duplicates
reshaping           files whose rows are not yet rows of a task: pairs and votes
answer_rows         several answers in a row: each becomes a claim
answers             the final answer of a claim, normalised
readers/            one reader per file format
tasks/              the shipped tasks (TOML), and custom task files
gold                gold and human labels, and agreement between people
rule_check          what a rule constrains, and how gold fits it
label_export        what a run says about each example; training rows; batched runs as one set
export              labels as files or a folder, also to the hub
export_files        CSV, JSONL and Parquet, each whole or not at all; the data card
"""
