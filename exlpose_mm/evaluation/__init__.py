"""From predictions to tables, comparisons and reports."""
