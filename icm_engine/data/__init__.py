"""What goes in and what comes out: importing, tasks, gold kept apart, export."""
