"""Everything that is drawn; nothing else imports matplotlib."""
