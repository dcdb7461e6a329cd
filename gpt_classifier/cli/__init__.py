"""The commands, a file for each; nothing else imports them."""
