"""Who may do what: one pure rule table, the only way to content."""
