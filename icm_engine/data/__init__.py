"""What goes in and what comes out: importing, tasks, gold kept apart, export. Nothing that a worker loads imports it.

importing           from a file to a data set: all of it or nothing; deleting one
import_plan         the file opened, its columns found, its task made; the preview
import_warnings     what an import notices about its rows
columns             which column is which field, by the names people use or as the person says
spellings           what names of columns and cells of labels mean
column_evidence     what the first rows say about a column
row_parser          rows -> examples with swapped twins, after a scan for duplicates
reshaping           files whose rows are not yet the rows of a task: pairs and votes
answer_rows         several answers in a row: each becomes a claim
answers             the final answer of a claim, normalised
readers/            one reader for each form of file
tasks/              the shipped tasks (TOML), and task files of one's own
gold                gold and human labels, and the agreement of people
rule_check          what a rule ties together, and gold against it
label_export        what a run says about each example; training rows; batched runs as one set
export              labels as files or a folder, also to the hub
export_files        CSV, JSONL and Parquet, each whole or not at all; the data card
"""
