"""The agent on the doorbell: sees, records, seals and delivers."""
